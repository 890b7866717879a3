//! Short messages over HTTP: one attempt, one answer, whole within a deadline.
//!
//! The client trusts public authorities and the given ones, and takes the configured proxies. What goes wrong
//! is told without the URL, which may be a secret by itself: host and port say enough.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::config::network::Network;
use crate::stores;

/// Sends messages; clones share the client, which is made when the first one is sent.
#[derive(Clone)]
pub(super) struct Http {
    network: Arc<Network>,
    shared: Arc<OnceLock<Result<Shared, String>>>,
    /// How long one message may take.
    deadline: Duration,
}

struct Shared {
    client: reqwest::Client,
    /// Taken out on drop, so that a message under way is not waited for.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Http {
    pub(super) fn new(network: &Network, deadline: Duration) -> Self {
        Self { network: Arc::new(network.clone()), shared: Arc::default(), deadline }
    }

    /// Sends `body` and wants an answer of the 200s.
    pub(super) fn post(
        &self,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<reqwest::Body>,
    ) -> Result<(), String> {
        let shared = self.shared.get_or_init(|| self.start()).as_ref().map_err(Clone::clone)?;
        let runtime = shared.runtime.as_ref().ok_or("no network thread")?;
        let host = host_of(url);
        let mut request = shared.client.post(url).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = runtime.block_on(async { tokio::time::timeout(self.deadline, request.send()).await });
        match answer {
            Err(_) => Err(format!("{host}: no answer within {} s", self.deadline.as_secs())),
            Ok(Err(error)) => Err(format!("{host}: {}", deepest(&error.without_url()))),
            Ok(Ok(answer)) if answer.status().is_success() => Ok(()),
            Ok(Ok(answer)) => Err(format!("{host}: answered {}", answer.status())),
        }
    }

    fn start(&self) -> Result<Shared, String> {
        let client = stores::side_client(&self.network).map_err(|error| error.to_string())?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("outlets")
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start the network thread: {error}"))?;
        Ok(Shared { client, runtime: Some(runtime) })
    }
}

/// `host:port` of a URL, without user, password and path.
fn host_of(url: &str) -> String {
    let parsed = reqwest::Url::parse(url).ok();
    let host = parsed.as_ref().and_then(|url| Some((url.host_str()?, url.port_or_known_default())));
    match host {
        Some((host, Some(port))) => format!("{host}:{port}"),
        Some((host, None)) => host.to_owned(),
        None => "an invalid URL".to_owned(),
    }
}

/// The innermost cause says what happened, the outer ones only that something did.
fn deepest(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
