//! One request over HTTP: sent, answered and read whole, or failed within known times.
//!
//! Bytes sent and received count as progress; without progress for the idle time a request is given up,
//! however large it is. Bodies are handed over in small frames, so that progress can be seen.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use opendal::Buffer;

use super::failure::{self, Failure};
use super::options::{Proxies, Timeouts};
use crate::backend::BackendErrorKind;

/// How much of a body is handed to the connection at once.
const FRAME_BYTES: usize = 128 << 10;

/// More room than this is not set aside on the word of a header.
const TRUSTED_BYTES: u64 = 256 << 20;

/// An HTTP client with its time limits.
#[derive(Clone)]
pub(super) struct Wire {
    client: reqwest::Client,
    timeouts: Timeouts,
    proxies: Proxies,
}

impl Wire {
    /// A client that keeps these times.
    pub(super) fn new(client: reqwest::Client, timeouts: Timeouts) -> Self {
        Self { client, timeouts, proxies: Proxies::default() }
    }

    /// The same, whose client goes through these proxies.
    pub(super) fn through(self, proxies: &Proxies) -> Self {
        Self { proxies: proxies.clone(), ..self }
    }

    /// Sends a request and reads the whole answer, whatever its status.
    pub(super) async fn send(&self, request: Request<Buffer>) -> Result<Response<Bytes>, Failure> {
        let host = host_of(&request);
        let uri = request.uri();
        let proxy = self.proxies.between(uri.scheme_str() == Some("https"), uri.host().unwrap_or_default());
        let (parts, body) = request.into_parts();
        let is_head = parts.method == http::Method::HEAD;
        let started = Instant::now();
        let progress = Arc::new(Progress::new());
        let mut limit = allowance(self.timeouts.request, body.len() as u64);
        let url = reqwest::Url::parse(&parts.uri.to_string())
            .map_err(|error| Failure::lasting(BackendErrorKind::Other, format!("invalid URL: {error}")))?;
        let mut builder = self.client.request(parts.method, url).headers(parts.headers);
        if !body.is_empty() {
            builder = builder.body(reqwest::Body::wrap(Upload { body, progress: Arc::clone(&progress) }));
        }
        let watch = Watch { idle: self.timeouts.idle, progress: &progress, host: &host };
        let answer = watch.wait(builder.send(), started + limit).await?;
        let mut answer = answer.map_err(|error| failure::of_network(&error, &host, proxy.as_deref()))?;
        progress.mark();
        if let Some(proxy) = &proxy
            && answer.status() == http::StatusCode::PROXY_AUTHENTICATION_REQUIRED
        {
            let cause = format!("the proxy {proxy} wants a user and a password, or others");
            return Err(Failure::lasting(BackendErrorKind::Denied, cause));
        }

        let announced = answer.content_length().filter(|_| !is_head);
        limit += allowance(Duration::ZERO, announced.unwrap_or(0));
        let mut whole = Response::new(Bytes::new());
        *whole.status_mut() = answer.status();
        std::mem::swap(whole.headers_mut(), answer.headers_mut());
        if is_head {
            return Ok(whole);
        }
        let mut collected = BytesMut::with_capacity(announced.unwrap_or(0).min(TRUSTED_BYTES) as usize);
        while let Some(chunk) = watch
            .wait(answer.chunk(), started + limit)
            .await?
            .map_err(|error| failure_of_body(&error, &host, proxy.as_deref(), collected.len(), announced))?
        {
            progress.mark();
            collected.extend_from_slice(&chunk);
        }
        *whole.body_mut() = collected.freeze();
        Ok(whole)
    }
}

/// The time for a request that carries `bytes`: a minute more for every whole MiB.
fn allowance(base: Duration, bytes: u64) -> Duration {
    base + Duration::from_secs(60 * (bytes >> 20))
}

fn host_of(request: &Request<Buffer>) -> String {
    let uri = request.uri();
    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
    format!("{}:{port}", uri.host().unwrap_or_default())
}

/// A body that ends early is damaged; a connection that breaks is unreachable.
fn failure_of_body(
    error: &reqwest::Error,
    host: &str,
    proxy: Option<&str>,
    received: usize,
    announced: Option<u64>,
) -> Failure {
    let network = failure::of_network(error, host, proxy);
    let cut = announced.is_some_and(|announced| (received as u64) < announced);
    if cut && !network.cause.contains("timed out") {
        let cause = format!("the answer ended after {received} of {} bytes", announced.unwrap_or(0));
        return Failure::passing(BackendErrorKind::Damaged, cause);
    }
    network
}

/// When bytes last moved.
struct Progress {
    start: Instant,
    last_millis: AtomicU64,
}

impl Progress {
    fn new() -> Self {
        Self { start: Instant::now(), last_millis: AtomicU64::new(0) }
    }

    fn mark(&self) {
        self.last_millis.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn last(&self) -> Instant {
        self.start + Duration::from_millis(self.last_millis.load(Ordering::Relaxed))
    }
}

/// Waits as long as bytes move.
struct Watch<'r> {
    idle: Duration,
    progress: &'r Progress,
    host: &'r str,
}

impl Watch<'_> {
    async fn wait<T>(&self, future: impl Future<Output = T>, deadline: Instant) -> Result<T, Failure> {
        let mut future = std::pin::pin!(future);
        loop {
            let stalled = self.progress.last() + self.idle;
            let until = stalled.min(deadline);
            match tokio::time::timeout_at(until.into(), &mut future).await {
                Ok(value) => return Ok(value),
                Err(_) if until == deadline => return Err(self.gave_up("the request took too long")),
                Err(_) if self.progress.last() + self.idle <= Instant::now() => {
                    let cause = format!("no data for {} s", self.idle.as_secs_f32());
                    return Err(self.gave_up(&cause));
                }
                Err(_) => {}
            }
        }
    }

    fn gave_up(&self, why: &str) -> Failure {
        Failure::passing(BackendErrorKind::Unreachable, format!("{} timed out: {why}", self.host))
    }
}

/// A request body that tells when it is taken.
struct Upload {
    body: Buffer,
    progress: Arc<Progress>,
}

impl Body for Upload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.body.is_empty() {
            return Poll::Ready(None);
        }
        self.progress.mark();
        let mut frame = self.body.current();
        frame.truncate(FRAME_BYTES);
        self.body.advance(frame.len());
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.body.len() as u64)
    }
}
