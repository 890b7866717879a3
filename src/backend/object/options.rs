//! Everything the object store has to be told. `config` fills it; nothing here reads a variable.
//!
//! Secrets are zeroed on drop, and none of these types can be printed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use zeroize::Zeroizing;

use super::hedge::HedgeCount;

/// Where the repository's objects are and how they are reached.
#[derive(Clone)]
pub struct ObjectOptions {
    /// `scheme://host[:port]`; none is `https://s3.amazonaws.com`.
    pub endpoint: Option<String>,
    /// The bucket's name.
    pub bucket: String,
    /// The folder inside the bucket, without slashes at its ends; empty is the bucket's root.
    pub prefix: String,
    /// The region to sign for; none: from the URL, else `us-east-1` unless the store names another.
    pub region: Option<String>,
    /// Whether the bucket stands in the host name or in the path.
    pub addressing: Addressing,
    /// Where access keys come from.
    pub credentials: CredentialSources,
    /// The storage class of data packs, e.g. `STANDARD_IA`; everything else keeps the store's default.
    pub storage_class: Option<String>,
    /// Server-side encryption: `AES256`, `aws:kms` or `aws:kms:<key id>`.
    pub sse: Option<String>,
    /// PEM certificates that replace the system's roots (`RESTIC_CACERT`).
    pub ca_pems: Vec<Vec<u8>>,
    /// A client certificate with its key, PEM (`RESTIC_TLS_CLIENT_CERT`).
    pub client_cert_pem: Option<Zeroizing<Vec<u8>>>,
    /// Accept any certificate.
    pub insecure_tls: bool,
    /// The `User-Agent` header (`RESTIC_HTTP_USER_AGENT`).
    pub user_agent: Option<String>,
    /// HTTP proxies.
    pub proxies: Proxies,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// Requests at once; hedged reads may make two more.
    pub connections: usize,
    /// Where hedged reads are counted.
    pub hedges: Arc<HedgeCount>,
    /// Larger files are written in parts (restic: 200 MiB).
    pub multipart_threshold_bytes: u64,
    /// The length of all parts but the last; S3 wants at least 5 MiB.
    pub part_bytes: usize,
}

impl Default for ObjectOptions {
    /// No bucket yet; everything else as restic has it.
    fn default() -> Self {
        Self {
            endpoint: None,
            bucket: String::new(),
            prefix: String::new(),
            region: None,
            addressing: Addressing::Auto,
            credentials: CredentialSources::default(),
            storage_class: None,
            sse: None,
            ca_pems: Vec::new(),
            client_cert_pem: None,
            insecure_tls: false,
            user_agent: None,
            proxies: Proxies::default(),
            timeouts: Timeouts::default(),
            connections: 16,
            hedges: Arc::default(),
            multipart_threshold_bytes: 200 << 20,
            part_bytes: 64 << 20,
        }
    }
}

/// How a bucket is named in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addressing {
    /// In the host name for Amazon, Google and Aliyun (not with https and a dotted bucket), else in the path.
    #[default]
    Auto,
    /// `https://host/bucket/key`
    Path,
    /// `https://bucket.host/key`
    Virtual,
}

/// HTTP proxies; explicit, as the usual variables say them.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For `http://` (`HTTP_PROXY`).
    pub http: Option<String>,
    /// For `https://` (`HTTPS_PROXY`).
    pub https: Option<String>,
    /// Hosts, domains and networks that are reached directly, separated by commas (`NO_PROXY`).
    pub none: Option<String>,
}

/// Time limits of a request.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Name resolution, TCP and TLS.
    pub connect: Duration,
    /// No byte sent or received for so long.
    pub idle: Duration,
    /// A whole request without a large body; every further MiB sent or asked for adds a minute, so that
    /// many packs at once on a slow line do not fail forever.
    pub request: Duration,
    /// Where a store knows no conditional write: the time between an exclusive write and reading it back.
    pub settle: Duration,
    /// An answer of the instance or container metadata service.
    pub metadata: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            idle: Duration::from_mins(1),
            request: Duration::from_mins(5),
            settle: Duration::from_secs(2),
            metadata: Duration::from_secs(2),
        }
    }
}

/// Where access keys may come from, in the order in which they are tried.
#[derive(Clone, Default)]
pub struct CredentialSources {
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
    pub static_keys: Option<StaticKeys>,
    /// `MINIO_ACCESS_KEY` and `MINIO_SECRET_KEY`, or `MINIO_ROOT_USER` and `MINIO_ROOT_PASSWORD`.
    pub minio: Option<StaticKeys>,
    /// `AWS_SHARED_CREDENTIALS_FILE`, else `~/.aws/credentials`.
    pub shared_credentials_file: Option<PathBuf>,
    /// `AWS_PROFILE`; none is `default`. A profile that is named and missing is an error.
    pub profile: Option<String>,
    /// `AWS_WEB_IDENTITY_TOKEN_FILE` and `AWS_ROLE_ARN`.
    pub web_identity: Option<WebIdentity>,
    /// `AWS_CONTAINER_CREDENTIALS_*`.
    pub container: Option<ContainerCredentials>,
    /// The instance metadata service, `http://169.254.169.254`; none: it is not asked.
    pub instance_metadata: Option<String>,
    /// A role to take on top of the keys found (`RESTIC_AWS_ASSUME_ROLE_*`).
    pub assume_role: Option<AssumeRole>,
}

/// The service of an EC2 instance that hands out its role's keys.
pub const INSTANCE_METADATA: &str = "http://169.254.169.254";

/// The service of an ECS container; a relative URI of the variables is appended to it.
pub const CONTAINER_METADATA: &str = "http://169.254.170.2";

/// An access key with its secret.
#[derive(Clone)]
pub struct StaticKeys {
    /// The access key's id.
    pub access_key_id: Zeroizing<String>,
    /// The secret key.
    pub secret_access_key: Zeroizing<String>,
    /// The token of temporary keys.
    pub session_token: Option<Zeroizing<String>>,
}

/// A token of an identity provider (a Kubernetes service account) that is exchanged for keys.
#[derive(Clone)]
pub struct WebIdentity {
    /// The file with the token; read again at every exchange.
    pub token_file: PathBuf,
    /// The role to take.
    pub role_arn: String,
    /// `AWS_ROLE_SESSION_NAME`; none is `volmover`.
    pub session_name: Option<String>,
    /// Instead of the region's STS.
    pub sts_endpoint: Option<String>,
}

/// A container's credentials endpoint.
#[derive(Clone)]
pub struct ContainerCredentials {
    /// The full URI.
    pub uri: String,
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN`.
    pub token: Option<Zeroizing<String>>,
    /// `AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE`, used instead of `token`; read at every request.
    pub token_file: Option<PathBuf>,
}

/// A role that is assumed with other keys.
#[derive(Clone, Default)]
pub struct AssumeRole {
    /// `RESTIC_AWS_ASSUME_ROLE_ARN`.
    pub role_arn: String,
    /// `…_SESSION_NAME`; none is `volmover`.
    pub session_name: Option<String>,
    /// `…_EXTERNAL_ID`.
    pub external_id: Option<String>,
    /// `…_POLICY`, JSON.
    pub policy: Option<String>,
    /// `…_REGION`; none is `us-east-1`.
    pub region: Option<String>,
    /// `…_STS_ENDPOINT`; none is Amazon's.
    pub sts_endpoint: Option<String>,
}
