//! What an S3 store needs besides its location: addressing, classes, and every source of access keys.
//!
//! Plain fields; which source wins is the store's business. Half of a pair of keys is an error here, but
//! only for a repository on S3: elsewhere the variables may be somebody else's.

use std::path::PathBuf;

use super::env::Lookup;
use super::secret::Secret;
use super::values::{Parsed, choice};
use super::variable::Variable;
use super::variables::{
    AWS_ACCESS_KEY_ID, AWS_CONTAINER_AUTHORIZATION_TOKEN, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE,
    AWS_CONTAINER_CREDENTIALS_FULL_URI, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, AWS_DEFAULT_REGION,
    AWS_PROFILE, AWS_ROLE_ARN, AWS_ROLE_SESSION_NAME, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN,
    AWS_SHARED_CREDENTIALS_FILE, AWS_WEB_IDENTITY_TOKEN_FILE, HOME, MINIO_ROOT_PASSWORD, MINIO_ROOT_USER,
    MOVER_S3_ADDRESSING, MOVER_S3_SSE, MOVER_S3_STORAGE_CLASS, RESTIC_AWS_ASSUME_ROLE_ARN,
    RESTIC_AWS_ASSUME_ROLE_EXTERNAL_ID, RESTIC_AWS_ASSUME_ROLE_POLICY, RESTIC_AWS_ASSUME_ROLE_REGION,
    RESTIC_AWS_ASSUME_ROLE_SESSION_NAME, RESTIC_AWS_ASSUME_ROLE_STS_ENDPOINT,
};
use crate::error::{Error, Result};

/// The service that an ECS container asks for keys.
const CONTAINER_METADATA: &str = "http://169.254.170.2";

/// What the S3 store is told.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct S3Options {
    /// How buckets are named in requests.
    pub addressing: Addressing,
    /// The storage class of data packs.
    pub storage_class: Option<String>,
    /// Server-side encryption: `AES256`, `aws:kms` or `aws:kms:<key id>`.
    pub sse: Option<String>,
    /// The region to sign for.
    pub region: Option<String>,
    /// `AWS_ACCESS_KEY_ID`, its secret and its token.
    pub static_keys: Option<AccessKeys>,
    /// `MinIO`'s variables.
    pub minio_keys: Option<AccessKeys>,
    /// The shared credentials file, named or in `~/.aws`.
    pub shared_credentials_file: Option<PathBuf>,
    /// The profile in it.
    pub profile: Option<String>,
    /// A token to exchange for keys.
    pub web_identity: Option<WebIdentity>,
    /// A container's credentials endpoint.
    pub container: Option<Container>,
    /// A role to take on top of the keys found.
    pub assume_role: Option<AssumeRole>,
}

/// How a bucket is named in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addressing {
    /// By the host's name.
    #[default]
    Auto,
    /// In the path.
    Path,
    /// In the host name.
    Virtual,
}

/// An access key with its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessKeys {
    /// The access key's id.
    pub id: Secret,
    /// The secret key.
    pub secret: Secret,
    /// The token of temporary keys.
    pub session_token: Option<Secret>,
}

/// A token of an identity provider, exchanged for keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebIdentity {
    /// The file with the token.
    pub token_file: PathBuf,
    /// The role to take.
    pub role_arn: String,
    /// The session's name.
    pub session_name: Option<String>,
}

/// A container's credentials endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The full URI.
    pub uri: String,
    /// What is shown there.
    pub token: Option<Secret>,
    /// A file with it.
    pub token_file: Option<PathBuf>,
}

/// A role that is assumed with other keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssumeRole {
    /// The role.
    pub role_arn: String,
    /// The session's name.
    pub session_name: Option<String>,
    /// The external id that the role asks for.
    pub external_id: Option<String>,
    /// A policy that narrows it, JSON.
    pub policy: Option<String>,
    /// The region of the token service.
    pub region: Option<String>,
    /// The token service.
    pub sts_endpoint: Option<String>,
}

impl S3Options {
    /// From the variables; `used` when the repository is on S3.
    pub fn parse(lookup: &Lookup, used: bool) -> Result<Self> {
        let words =
            [("auto", Addressing::Auto), ("path", Addressing::Path), ("virtual", Addressing::Virtual)];
        let token = lookup.secret(&AWS_SESSION_TOKEN);
        Ok(Self {
            addressing: lookup.parse(&MOVER_S3_ADDRESSING, |text| choice(text, &words))?.unwrap_or_default(),
            storage_class: lookup.parse(&MOVER_S3_STORAGE_CLASS, storage_class)?,
            sse: lookup.parse(&MOVER_S3_SSE, sse)?,
            region: text(lookup, &AWS_DEFAULT_REGION)?,
            static_keys: pair(lookup, &AWS_ACCESS_KEY_ID, &AWS_SECRET_ACCESS_KEY, token, used)?,
            minio_keys: pair(lookup, &MINIO_ROOT_USER, &MINIO_ROOT_PASSWORD, None, used)?,
            shared_credentials_file: lookup
                .path(&AWS_SHARED_CREDENTIALS_FILE)
                .or_else(|| lookup.path(&HOME).map(|home| home.join(".aws/credentials"))),
            profile: text(lookup, &AWS_PROFILE)?,
            web_identity: web_identity(lookup, used)?,
            container: container(lookup)?,
            assume_role: assume_role(lookup)?,
        })
    }

    /// Every secret, for a log that blots them out; the ids of keys apart.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        let of_keys = self.keys().flat_map(|keys| [Some(&keys.secret), keys.session_token.as_ref()]);
        let of_container = self.container.iter().map(|container| container.token.as_ref());
        of_keys.chain(of_container).flatten()
    }

    /// The ids of keys.
    pub fn key_ids(&self) -> impl Iterator<Item = &Secret> {
        self.keys().map(|keys| &keys.id)
    }

    fn keys(&self) -> impl Iterator<Item = &AccessKeys> {
        [&self.static_keys, &self.minio_keys].into_iter().flatten()
    }
}

fn text(lookup: &Lookup, variable: &Variable) -> Result<Option<String>> {
    Ok(lookup.text(variable)?.map(str::to_owned))
}

fn storage_class(text: &str) -> Parsed<String> {
    let fits = text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if fits { Ok(text.to_owned()) } else { Err("a storage class such as STANDARD_IA".to_owned()) }
}

fn sse(text: &str) -> Parsed<String> {
    let key = text.strip_prefix("aws:kms:").unwrap_or("key");
    let fits = text == "AES256" || text == "aws:kms" || text.starts_with("aws:kms:");
    if fits && !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err("AES256, aws:kms or aws:kms:<key id>".to_owned())
}

/// Two variables that mean nothing alone.
fn pair(
    lookup: &Lookup,
    id: &Variable,
    secret: &Variable,
    session_token: Option<Secret>,
    used: bool,
) -> Result<Option<AccessKeys>> {
    let half = |missing: &Variable, there: &Variable| {
        let error = Error::usage("half of an access key").at(missing.name);
        error.because(format!("it is not set, but {} is", there.name)).then("Set both or none")
    };
    match (lookup.secret(id), lookup.secret(secret)) {
        (Some(id), Some(secret)) => Ok(Some(AccessKeys { id, secret, session_token })),
        (Some(_), None) if used => Err(half(secret, id)),
        (None, Some(_)) if used => Err(half(id, secret)),
        _ => Ok(None),
    }
}

fn web_identity(lookup: &Lookup, used: bool) -> Result<Option<WebIdentity>> {
    let session_name = text(lookup, &AWS_ROLE_SESSION_NAME)?;
    match (lookup.path(&AWS_WEB_IDENTITY_TOKEN_FILE), text(lookup, &AWS_ROLE_ARN)?) {
        (Some(token_file), Some(role_arn)) => Ok(Some(WebIdentity { token_file, role_arn, session_name })),
        (Some(_), None) if used => Err(Error::usage("no role for a web identity")
            .at(AWS_ROLE_ARN.name)
            .because(format!("it is not set, but {} is", AWS_WEB_IDENTITY_TOKEN_FILE.name))
            .then("Set both or none")),
        _ => Ok(None),
    }
}

fn container(lookup: &Lookup) -> Result<Option<Container>> {
    let relative =
        lookup.parse(&AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, |path| match path.strip_prefix('/') {
            Some(path) => Ok(format!("{CONTAINER_METADATA}/{path}")),
            None => Err("a path that begins with /".to_owned()),
        })?;
    let full = lookup.parse(&AWS_CONTAINER_CREDENTIALS_FULL_URI, url)?;
    let Some(uri) = relative.or(full) else { return Ok(None) };
    Ok(Some(Container {
        uri,
        token: lookup.secret(&AWS_CONTAINER_AUTHORIZATION_TOKEN),
        token_file: lookup.path(&AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE),
    }))
}

fn assume_role(lookup: &Lookup) -> Result<Option<AssumeRole>> {
    let role = AssumeRole {
        role_arn: text(lookup, &RESTIC_AWS_ASSUME_ROLE_ARN)?.unwrap_or_default(),
        session_name: text(lookup, &RESTIC_AWS_ASSUME_ROLE_SESSION_NAME)?,
        external_id: text(lookup, &RESTIC_AWS_ASSUME_ROLE_EXTERNAL_ID)?,
        policy: text(lookup, &RESTIC_AWS_ASSUME_ROLE_POLICY)?,
        region: text(lookup, &RESTIC_AWS_ASSUME_ROLE_REGION)?,
        sts_endpoint: lookup.parse(&RESTIC_AWS_ASSUME_ROLE_STS_ENDPOINT, url)?,
    };
    Ok((!role.role_arn.is_empty()).then_some(role))
}

fn url(text: &str) -> Parsed<String> {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    match host {
        Some(host) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err("a URL that begins with http:// or https://".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::ffi::OsString;

    use super::super::env::Values;
    use super::*;

    fn parse(pairs: &[(&str, &str)], used: bool) -> Result<S3Options> {
        let environment =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        S3Options::parse(&Lookup::new(Values::new(), environment).unwrap(), used)
    }

    #[test]
    fn nothing_set() {
        assert_eq!(parse(&[], true).unwrap(), S3Options::default());
    }

    #[test]
    fn everything_set() {
        let options = parse(
            &[
                ("MOVER_S3_ADDRESSING", "virtual"),
                ("MOVER_S3_STORAGE_CLASS", "STANDARD_IA"),
                ("MOVER_S3_SSE", "aws:kms:arn:aws:kms:eu-west-1:1:key/2"),
                ("AWS_DEFAULT_REGION", "eu-west-1"),
                ("AWS_ACCESS_KEY", "id-hunter"),
                ("AWS_SECRET_ACCESS_KEY", "secret-hunter"),
                ("AWS_SESSION_TOKEN", "token-hunter"),
                ("MINIO_ACCESS_KEY", "minio-hunter"),
                ("MINIO_ROOT_PASSWORD", "minio-secret-hunter"),
                ("HOME", "/home/me"),
                ("AWS_PROFILE", "p"),
                ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token"),
                ("AWS_ROLE_ARN", "arn"),
                ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x"),
                ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://other"),
                ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "container-hunter"),
                ("RESTIC_AWS_ASSUME_ROLE_ARN", "arn2"),
                ("RESTIC_AWS_ASSUME_ROLE_STS_ENDPOINT", "https://sts"),
            ],
            true,
        )
        .unwrap();
        assert_eq!(options.addressing, Addressing::Virtual);
        assert_eq!(options.shared_credentials_file, Some(PathBuf::from("/home/me/.aws/credentials")));
        assert_eq!(options.container.as_ref().unwrap().uri, "http://169.254.170.2/v2/x");
        assert_eq!(options.web_identity.as_ref().unwrap().role_arn, "arn");
        assert_eq!(options.assume_role.as_ref().unwrap().sts_endpoint.as_deref(), Some("https://sts"));
        let texts = |secrets: Vec<&Secret>| -> Vec<String> {
            secrets.iter().map(|secret| secret.text().to_string()).collect()
        };
        let expected = ["secret-hunter", "token-hunter", "minio-secret-hunter", "container-hunter"];
        assert_eq!(texts(options.secrets().collect()), expected);
        assert_eq!(texts(options.key_ids().collect()), ["id-hunter", "minio-hunter"]);
        assert!(!format!("{options:?}").contains("hunter"));
    }

    #[test]
    fn half_a_pair_is_an_error_only_on_s3() {
        let halves = [
            ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
            ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
            ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"),
            ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
        ];
        for (there, missing) in halves {
            let error = parse(&[(there, "hunter2")], true).unwrap_err();
            assert_eq!(error.kind.exit_code(), 2);
            let line = error.to_string();
            assert!(
                line.contains(&format!("{missing}: it is not set, but {there} is. Set both or none")),
                "{line}"
            );
            assert!(!line.contains("hunter2"));
            assert_eq!(parse(&[(there, "hunter2")], false).unwrap(), S3Options::default());
        }
        assert_eq!(parse(&[("AWS_ROLE_ARN", "arn")], true).unwrap(), S3Options::default());
    }

    #[test]
    fn refusals_name_the_variable() {
        let cases = [
            ("MOVER_S3_ADDRESSING", "dns", "auto, path or virtual"),
            ("MOVER_S3_STORAGE_CLASS", "standard ia", "STANDARD_IA"),
            ("MOVER_S3_SSE", "aes", "AES256"),
            ("MOVER_S3_SSE", "aws:kms:", "aws:kms:<key id>"),
            ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "v2", "begins with /"),
            ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "ftp://x", "http://"),
            ("RESTIC_AWS_ASSUME_ROLE_STS_ENDPOINT", "sts", "http://"),
        ];
        for (name, value, accepted) in cases {
            let error = parse(&[(name, value)], false).unwrap_err();
            assert_eq!(error.kind.exit_code(), 2);
            let line = error.to_string();
            assert!(
                line.starts_with(&format!("invalid value: {name}={value}. ")) && line.contains(accepted),
                "{line}"
            );
        }
    }
}
