//! Configuration → store: the one place that puts a backend and its decorators together.
//!
//! ```text
//! retry ─ record ─ limit (requests at once) ─ throttle (bytes a second) ─ local | object      (dry run on top)
//! ```

use std::num::NonZeroU64;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::backend::dry_run::DryRun;
use crate::backend::limit::Limit;
use crate::backend::local::LocalBackend;
use crate::backend::object::{self, HedgeCount, ObjectBackend, ObjectOptions};
use crate::backend::record::Record;
use crate::backend::retry::Retry;
use crate::backend::throttle::Throttle;
use crate::backend::{Backend, BackendErrorKind};
use crate::clock::Clock;
use crate::config::Config;
use crate::config::network::Network;
use crate::config::repository_url::{Location, S3Location};
use crate::config::s3::{self, AccessKeys, S3Options};
use crate::config::secret::Secret;
use crate::error::Result;
use crate::random::Random;
use crate::report::Monitor;
use crate::report::run_summary::{Hedges, Requests, Traffic};
use crate::repository::cache::Cache;

/// What stores get besides the configuration.
#[derive(Clone)]
pub struct Surroundings {
    /// The clock of this run.
    pub clock: Arc<dyn Clock>,
    /// The randomness of this run.
    pub random: Arc<dyn Random>,
    /// Who is told of retries.
    pub monitor: Arc<dyn Monitor>,
    /// Set when the run must end.
    pub stop: Arc<AtomicBool>,
    /// Where requests are counted.
    pub tally: Arc<Tally>,
}

/// What is asked of all stores that a run connects to, and of the cache.
#[derive(Default)]
pub struct Tally {
    stores: Mutex<Vec<Arc<Record>>>,
    hedges: Arc<HedgeCount>,
    cache: OnceLock<Arc<Cache>>,
}

impl Tally {
    fn add(&self, store: Arc<dyn Backend>) -> Arc<Record> {
        let record = Arc::new(Record::new(store));
        self.stores.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&record));
        record
    }

    /// Counts what is asked of the cache too, of which a run has one.
    pub fn watch(&self, cache: &Arc<Cache>) {
        self.cache.get_or_init(|| Arc::clone(cache));
    }

    /// The sums so far; retries are told to the monitor and not counted here.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        let cache = self.cache.get().map(|cache| cache.figures());
        let hedges = Hedges { sent: self.hedges.sent(), won: self.hedges.won() };
        let mut traffic = Traffic { hedges, cache, ..Traffic::default() };
        for record in self.stores.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let counts = record.counts();
            traffic.uploaded_bytes += counts.bytes_up;
            traffic.downloaded_bytes += counts.bytes_down;
            for (request, outcome, count) in counts.iter() {
                let (request, outcome) = (request.word(), outcome.map_or("ok", BackendErrorKind::word));
                let same = |known: &&mut Requests| (known.request, known.outcome) == (request, outcome);
                match traffic.requests.iter_mut().find(same) {
                    Some(known) => known.count += count,
                    None => traffic.requests.push(Requests { request, outcome, count }),
                }
            }
        }
        traffic
    }
}

impl std::fmt::Debug for Tally {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Tally")
    }
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Surroundings")
    }
}

/// The store of the configured repository. Nothing is connected to yet.
pub fn connect(config: &Config, around: &Surroundings) -> Result<Arc<dyn Backend>> {
    let connections = config.performance.connections;
    let mut store = counting(config, &around.tally.hedges)?;
    let rate = |bytes: Option<u64>| bytes.and_then(NonZeroU64::new);
    let up = rate(config.performance.upload_bytes_per_second);
    let down = rate(config.performance.download_bytes_per_second);
    if up.or(down).is_some() {
        store = Arc::new(Throttle::new(store, up, down, Arc::clone(&around.clock), Arc::clone(&around.stop)));
    }
    store = Arc::new(Limit::new(store, connections));
    store = around.tally.add(store);
    store = Arc::new(Retry::new(
        store,
        Arc::clone(&around.clock),
        Arc::clone(&around.random),
        Arc::clone(&around.monitor),
        Arc::clone(&around.stop),
    ));
    Ok(if config.run.dry_run { Arc::new(DryRun::new(store)) } else { store })
}

/// The same store without any decorator: every request is made once, and its failure is heard at once.
pub fn bare(config: &Config) -> Result<Arc<dyn Backend>> {
    counting(config, &Arc::default())
}

/// The bare store, whose hedged reads are counted in `hedges`.
fn counting(config: &Config, hedges: &Arc<HedgeCount>) -> Result<Arc<dyn Backend>> {
    config.repository.url.require_served()?;
    let connections = config.performance.connections;
    Ok(match &config.repository.url.location {
        Location::S3(place) => {
            let hedges = Arc::clone(hedges);
            Arc::new(ObjectBackend::open(ObjectOptions { hedges, ..object_options(config, place)? })?)
        }
        Location::Local(path) => Arc::new(LocalBackend::open(path, connections)),
        // Refused above; a path of that name cannot exist.
        Location::NotYet(name) => Arc::new(LocalBackend::open(std::path::Path::new(name), connections)),
    })
}

/// A client for messages to others than the store.
pub fn side_client(network: &Network) -> Result<reqwest::Client> {
    object::side_client(&ObjectOptions {
        ca_pems: network.read_authorities()?,
        user_agent: network.user_agent.clone(),
        proxies: proxies(network),
        ..ObjectOptions::default()
    })
}

fn object_options(config: &Config, place: &S3Location) -> Result<ObjectOptions> {
    let Config { s3, network, .. } = config;
    let authorities = network.read_authorities()?;
    Ok(ObjectOptions {
        endpoint: Some(place.endpoint.clone()),
        bucket: place.bucket.clone(),
        prefix: place.prefix.clone(),
        region: s3.region.clone(),
        addressing: match s3.addressing {
            s3::Addressing::Auto => object::Addressing::Auto,
            s3::Addressing::Path => object::Addressing::Path,
            s3::Addressing::Virtual => object::Addressing::Virtual,
        },
        credentials: credentials(s3),
        storage_class: s3.storage_class.clone(),
        sse: s3.sse.clone(),
        ca_pems: authorities,
        client_cert_pem: network.read_client_certificate()?.map(|secret| secret.bytes().to_vec().into()),
        user_agent: network.user_agent.clone(),
        proxies: proxies(network),
        connections: config.performance.connections,
        ..ObjectOptions::default()
    })
}

fn proxies(network: &Network) -> object::Proxies {
    let url = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.text().to_string());
    object::Proxies {
        http: url(&network.http_proxy),
        https: url(&network.https_proxy),
        none: network.no_proxy.clone(),
    }
}

fn credentials(s3: &S3Options) -> object::CredentialSources {
    let keys = |keys: &AccessKeys| object::StaticKeys {
        access_key_id: keys.id.text(),
        secret_access_key: keys.secret.text(),
        session_token: keys.session_token.as_ref().map(Secret::text),
    };
    let sts_endpoint = s3.assume_role.as_ref().and_then(|role| role.sts_endpoint.clone());
    object::CredentialSources {
        static_keys: s3.static_keys.as_ref().map(keys),
        minio: s3.minio_keys.as_ref().map(keys),
        shared_credentials_file: s3.shared_credentials_file.clone(),
        profile: s3.profile.clone(),
        web_identity: s3.web_identity.as_ref().map(|identity| object::WebIdentity {
            token_file: identity.token_file.clone(),
            role_arn: identity.role_arn.clone(),
            session_name: identity.session_name.clone(),
            sts_endpoint: sts_endpoint.clone(),
        }),
        container: s3.container.as_ref().map(|container| object::ContainerCredentials {
            uri: container.uri.clone(),
            token: container.token.as_ref().map(Secret::text),
            token_file: container.token_file.clone(),
        }),
        instance_metadata: Some(object::INSTANCE_METADATA.to_owned()),
        assume_role: s3.assume_role.as_ref().map(|role| object::AssumeRole {
            role_arn: role.role_arn.clone(),
            session_name: role.session_name.clone(),
            external_id: role.external_id.clone(),
            policy: role.policy.clone(),
            region: role.region.clone(),
            sts_endpoint: role.sts_endpoint.clone(),
        }),
    }
}
