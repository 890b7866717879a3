//! Where access keys come from, tried in restic's order; kept until shortly before they expire.
//!
//! Order: static keys, `MINIO_*`, the shared credentials file, web identity, container, instance;
//! then a role assumed on top. A source that is configured and fails is an error, not a reason to try the
//! next one; a source that is not there is passed over. Keys never enter a message.

mod file;
mod metadata;
mod sts;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use reqsign_aws_v4::Credential;
use tokio::sync::{Mutex, OnceCell};

use super::failure::Failure;
use super::options::{ObjectOptions, StaticKeys};
use super::tls;
use super::wire::Wire;
use crate::backend::BackendErrorKind;

/// Keys are fetched anew so long before they expire.
const MARGIN: Duration = Duration::from_mins(5);

/// Keys, with the time until which they may be used.
pub(super) struct Keys {
    pub(super) credential: Credential,
    /// None: they do not expire.
    pub(super) good_until: Option<Instant>,
}

impl Keys {
    fn of(keys: &StaticKeys) -> Self {
        let credential = Credential {
            access_key_id: keys.access_key_id.to_string(),
            secret_access_key: keys.secret_access_key.to_string(),
            session_token: keys.session_token.as_ref().map(|token| token.to_string()),
            expires_in: None,
        };
        Self { credential, good_until: None }
    }

    /// Temporary keys; `expires` is RFC 3339. Keys with little time left are used for half of it.
    fn temporary(access: &str, secret: &str, token: Option<&str>, expires: Option<&str>) -> Self {
        let lifetime = expires
            .and_then(|text| text.parse::<Timestamp>().ok())
            .and_then(|end| Duration::try_from(end.duration_since(Timestamp::now())).ok())
            .unwrap_or(MARGIN);
        let usable = lifetime.saturating_sub(MARGIN).max(lifetime / 2);
        let credential = Credential {
            access_key_id: access.to_owned(),
            secret_access_key: secret.to_owned(),
            session_token: token.filter(|token| !token.is_empty()).map(str::to_owned),
            expires_in: None,
        };
        Self { credential, good_until: Some(Instant::now() + usable) }
    }
}

/// The chain of sources and the keys found last.
pub(super) struct Credentials {
    options: ObjectOptions,
    kept: Mutex<Option<Keys>>,
    tokens: OnceCell<Wire>,
}

impl Credentials {
    pub(super) fn new(options: &ObjectOptions) -> Self {
        Self { options: options.clone(), kept: Mutex::new(None), tokens: OnceCell::new() }
    }

    /// Keys that are good now. Only one caller fetches; the others wait for what it finds.
    pub(super) async fn current(&self) -> Result<Credential, Failure> {
        let mut kept = self.kept.lock().await;
        if let Some(keys) =
            kept.as_ref().filter(|keys| keys.good_until.is_none_or(|end| Instant::now() < end))
        {
            return Ok(keys.credential.clone());
        }
        let mut keys = self.find().await?;
        if let Some(role) = &self.options.credentials.assume_role {
            keys = sts::assume_role(self.tokens().await?, role, &keys.credential).await?;
        }
        let credential = keys.credential.clone();
        *kept = Some(keys);
        Ok(credential)
    }

    /// Drops keys that the store calls expired; tells whether others can be fetched.
    pub(super) async fn forget(&self) -> bool {
        let mut kept = self.kept.lock().await;
        let renewable = kept.as_ref().is_some_and(|keys| keys.good_until.is_some());
        if renewable {
            *kept = None;
        }
        renewable
    }

    async fn find(&self) -> Result<Keys, Failure> {
        let sources = &self.options.credentials;
        if let Some(keys) = sources.static_keys.as_ref().or(sources.minio.as_ref()) {
            return Ok(Keys::of(keys));
        }
        if let Some(path) = &sources.shared_credentials_file
            && let Some(keys) = file::read(path, sources.profile.as_deref())?
        {
            return Ok(Keys::of(&keys));
        }
        if let Some(identity) = &sources.web_identity {
            let region = self.options.region.as_deref();
            return sts::assume_role_with_web_identity(self.tokens().await?, identity, region).await;
        }
        if let Some(container) = &sources.container {
            return metadata::of_container(&self.metadata()?, container).await;
        }
        if let Some(endpoint) = &sources.instance_metadata
            && let Some(keys) = metadata::of_instance(&self.metadata()?, endpoint).await?
        {
            return Ok(keys);
        }
        Err(denied("no credentials found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"))
    }

    async fn tokens(&self) -> Result<&Wire, Failure> {
        let make = async || {
            let client = tls::token_client(&self.options).map_err(|error| denied(error.to_string()))?;
            Ok(Wire::new(client, self.options.timeouts).through(&self.options.proxies))
        };
        self.tokens.get_or_try_init(make).await
    }

    fn metadata(&self) -> Result<Wire, Failure> {
        let client = tls::metadata_client(&self.options).map_err(|error| denied(error.to_string()))?;
        let mut timeouts = self.options.timeouts;
        timeouts.idle = timeouts.metadata;
        timeouts.request = timeouts.metadata;
        Ok(Wire::new(client, timeouts))
    }
}

fn denied(cause: impl Into<String>) -> Failure {
    Failure::lasting(BackendErrorKind::Denied, cause)
}
