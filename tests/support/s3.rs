//! An S3 server inside the test process: real signatures (`s3s`), buckets in memory, scripted faults.
//!
//! `Profile` says whose manners it has: plain S3, or Cloudflare R2 with what R2 refuses. It listens on a
//! loopback port of its own and stops when it is dropped. Everything it was asked can be read back.

#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(unreachable_pub, reason = "a module of several binaries")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_wrap,
    clippy::struct_excessive_bools
)]
#![allow(clippy::wildcard_imports, reason = "the types of the S3 protocol")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::auth::{S3Auth, SecretKey};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Result, s3_error};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

#[path = "s3_store.rs"]
mod store;
pub use store::{Contents, Stored};

/// What the server does with `If-None-Match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditions {
    /// As Amazon today.
    Honoured,
    /// `NotImplemented`.
    Refused,
    /// Takes the write without a word, as old stores.
    Ignored,
}

/// Whose manners the server has.
#[derive(Debug, Clone)]
pub struct Profile {
    /// The region of the bucket.
    pub region: &'static str,
    /// Whether `GetBucketLocation` is implemented.
    pub tells_location: bool,
    /// Whether a signature for another region is refused, naming the right one.
    pub checks_region: bool,
    /// Refuses CRC and SHA checksum headers and trailers, as R2.
    pub refuses_checksums: bool,
    /// Refuses writes without Content-MD5, as a bucket with Object Lock.
    pub wants_md5: bool,
    /// Parts of unequal length are `InvalidPart`, as R2.
    pub equal_parts: bool,
    /// What `If-None-Match` does.
    pub conditions: Conditions,
    /// Whether `DeleteObjects` is implemented.
    pub deletes_many: bool,
    /// Keys that contain this cannot be deleted by `DeleteObjects`.
    pub undeletable: Option<&'static str>,
    /// The most entries of one list page.
    pub page_keys: usize,
    /// Every so many requests a burst of three answers 429; 0: never.
    pub bursts: u64,
    /// The bucket that exists from the start.
    pub bucket: &'static str,
    /// `127.0.0.1` or `::1`.
    pub host: &'static str,
}

impl Profile {
    /// Plain S3, with Object Lock's wish for Content-MD5.
    pub fn plain() -> Self {
        Self {
            region: "us-east-1",
            tells_location: true,
            checks_region: false,
            refuses_checksums: false,
            wants_md5: true,
            equal_parts: false,
            conditions: Conditions::Honoured,
            deletes_many: true,
            undeletable: None,
            page_keys: 1000,
            bursts: 0,
            bucket: "repository",
            host: "127.0.0.1",
        }
    }

    /// Cloudflare R2; bursts are separate, see `bursts`.
    pub fn r2() -> Self {
        Self {
            region: "auto",
            tells_location: false,
            checks_region: true,
            refuses_checksums: true,
            wants_md5: false,
            equal_parts: true,
            ..Self::plain()
        }
    }
}

/// What a scripted fault does instead of the answer.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// This status with this code; the request is not carried out.
    Answer(u16, &'static str),
    /// The request is carried out, and its answer replaced by a 500: a write of which nobody knows.
    Lose,
    /// The answer ends after so many bytes, with the connection.
    Cut(usize),
    /// The answer stops after so many bytes; the connection stays open.
    Stall(usize),
}

struct Script {
    method: &'static str,
    part: String,
    skip: usize,
    times: usize,
    fault: Fault,
}

/// Access keys that the server knows: id → secret and, for temporary keys, the token they need.
type KeyRing = Arc<Mutex<BTreeMap<String, (String, Option<String>)>>>;

struct State {
    profile: Profile,
    keys: KeyRing,
    log: Mutex<Vec<String>>,
    scripts: Mutex<Vec<Script>>,
    asked: AtomicU64,
    abandoned: Arc<AtomicU64>,
}

/// A running server.
pub struct S3Server {
    address: SocketAddr,
    secure: bool,
    state: Arc<State>,
    contents: Arc<Mutex<Contents>>,
    runtime: Option<tokio::runtime::Runtime>,
}

/// The key that every server knows.
pub const ACCESS_KEY: &str = "AKIATEST";
/// Its secret.
pub const SECRET_KEY: &str = "a+secret/of=the%tests";

impl S3Server {
    /// Starts a server that speaks HTTP.
    pub fn start(profile: Profile) -> Self {
        Self::serve(profile, None)
    }

    /// Starts a server that speaks TLS.
    pub fn start_tls(profile: Profile, config: tokio_rustls::rustls::ServerConfig) -> Self {
        Self::serve(profile, Some(TlsAcceptor::from(Arc::new(config))))
    }

    fn serve(profile: Profile, tls: Option<TlsAcceptor>) -> Self {
        let contents = Arc::new(Mutex::new(Contents::default()));
        contents.lock().unwrap().buckets.insert(profile.bucket.to_owned(), BTreeMap::new());
        let keys: KeyRing = Arc::default();
        keys.lock().unwrap().insert(ACCESS_KEY.to_owned(), (SECRET_KEY.to_owned(), None));
        let memory = store::Memory { profile: profile.clone(), contents: Arc::clone(&contents) };
        let mut builder = S3ServiceBuilder::new(memory);
        builder.set_auth(Keys(Arc::clone(&keys)));
        let service = builder.build();
        let (log, scripts, asked, abandoned) = Default::default();
        let state = Arc::new(State { profile, keys, log, scripts, asked, abandoned });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((state.profile.host, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let secure = tls.is_some();
        let shared = Arc::clone(&state);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let (state, service, tls) = (Arc::clone(&shared), service.clone(), tls.clone());
                tokio::spawn(async move {
                    let answer =
                        service_fn(move |request| answer(Arc::clone(&state), service.clone(), request));
                    let http = hyper::server::conn::http1::Builder::new();
                    match tls {
                        None => drop(http.serve_connection(TokioIo::new(stream), answer).await),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                let _ = http.serve_connection(TokioIo::new(stream), answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, secure, state, contents, runtime: Some(runtime) }
    }

    /// `http://127.0.0.1:port`, or what the profile makes of it.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", if self.secure { "https" } else { "http" }, self.address)
    }

    /// `127.0.0.1:port`
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Teaches the server another access key; with a token, requests must carry it.
    pub fn add_key(&self, access: &str, secret: &str, token: Option<&str>) {
        let entry = (secret.to_owned(), token.map(str::to_owned));
        self.state.keys.lock().unwrap().insert(access.to_owned(), entry);
    }

    /// Forgets an access key.
    pub fn remove_key(&self, access: &str) {
        self.state.keys.lock().unwrap().remove(access);
    }

    /// The next `times` requests of `method` (empty: any) whose path or query contains `part` meet `fault`,
    /// after `skip` of them went well.
    pub fn script(&self, method: &'static str, part: &str, skip: usize, times: usize, fault: Fault) {
        let script = Script { method, part: part.to_owned(), skip, times, fault };
        self.state.scripts.lock().unwrap().push(script);
    }

    /// All requests so far: `METHOD /path?query access-key`.
    pub fn log(&self) -> Vec<String> {
        self.state.log.lock().unwrap().clone()
    }

    /// How many requests of `method` contain `part`.
    pub fn count(&self, method: &str, part: &str) -> usize {
        self.log().iter().filter(|line| line.starts_with(method) && line.contains(part)).count()
    }

    /// How many answers that stall were given up by who waited for them.
    pub fn abandoned(&self) -> u64 {
        self.state.abandoned.load(Ordering::Relaxed)
    }

    /// Looks at, or changes, what is stored.
    pub fn contents<T>(&self, look: impl FnOnce(&mut Contents) -> T) -> T {
        look(&mut self.contents.lock().unwrap())
    }

    /// One object of the profile's bucket.
    pub fn object(&self, key: &str) -> Option<Stored> {
        self.contents(|contents| contents.buckets.get(self.state.profile.bucket)?.get(key).cloned())
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Keys(KeyRing);

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let keys = self.0.lock().unwrap();
        let known = keys.get(access_key).map(|(secret, _)| SecretKey::from(secret.as_str()));
        known.ok_or_else(|| s3_error!(InvalidAccessKeyId))
    }
}

type Answered = Result<Response<Body>, Infallible>;

async fn answer(state: Arc<State>, service: S3Service, request: Request<Incoming>) -> Answered {
    let cloudflare = state.profile.region == "auto";
    let mut response = answer_as(state, service, request).await?;
    if cloudflare {
        // minio-go goes by this name when it is told that GetBucketLocation is not implemented.
        response.headers_mut().insert("server", http::HeaderValue::from_static("cloudflare"));
    }
    Ok(response)
}

async fn answer_as(state: Arc<State>, service: S3Service, request: Request<Incoming>) -> Answered {
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str()).to_owned();
    let method = request.method().as_str().to_owned();
    let header =
        |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let scope = header("authorization").split_once("Credential=").map_or("", |(_, rest)| rest).to_owned();
    let mut scope = scope.split('/').map(str::to_owned);
    let (access, region) = (scope.next().unwrap_or_default(), scope.nth(1).unwrap_or_default());
    state.log.lock().unwrap().push(format!("{method} {target} {access}"));

    let fault = state.fault(&method, &target);
    if let Some(Fault::Answer(status, code)) = fault {
        return Ok(drain(request, refusal(status, code, "")).await);
    }
    let token = header("x-amz-security-token").to_owned();
    let wanted = state.keys.lock().unwrap().get(&access).and_then(|(_, token)| token.clone());
    if wanted.is_some_and(|wanted| wanted != token) {
        return Ok(drain(request, refusal(403, "InvalidToken", "")).await);
    }
    if let Some(refused) = state.refuses(&request, &region) {
        return Ok(drain(request, refused).await);
    }
    let response = match hyper::service::Service::call(&service, request).await {
        Ok(response) => response,
        Err(_) => refusal(500, "InternalError", ""),
    };
    Ok(match fault {
        None | Some(Fault::Answer(..)) => response,
        Some(Fault::Lose) => refusal(500, "InternalError", ""),
        Some(Fault::Cut(bytes)) => broken(response, bytes, None).await,
        Some(Fault::Stall(bytes)) => {
            broken(response, bytes, Some(Abandoned(Arc::clone(&state.abandoned)))).await
        }
    })
}

impl State {
    fn fault(&self, method: &str, target: &str) -> Option<Fault> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed);
        let bursts = self.profile.bursts;
        if bursts > 0 && asked % bursts >= bursts.saturating_sub(3) {
            return Some(Fault::Answer(429, "TooManyRequests"));
        }
        let mut scripts = self.scripts.lock().unwrap();
        let script = scripts.iter_mut().find(|script| {
            script.times > 0 && method.starts_with(script.method) && target.contains(&script.part)
        })?;
        if script.skip > 0 {
            script.skip -= 1;
            return None;
        }
        script.times -= 1;
        Some(script.fault)
    }

    /// What the profile refuses before the request is looked at.
    fn refuses(&self, request: &Request<Incoming>, region: &str) -> Option<Response<Body>> {
        let checksum = |name: &str| {
            name.starts_with("x-amz-checksum-")
                || name == "x-amz-sdk-checksum-algorithm"
                || name == "x-amz-trailer"
        };
        if self.profile.refuses_checksums && request.headers().keys().any(|name| checksum(name.as_str())) {
            return Some(refusal(501, "NotImplemented", ""));
        }
        // R2 takes us-east-1 for auto.
        let fits = region == self.profile.region || (self.profile.region == "auto" && region == "us-east-1");
        if self.profile.checks_region && !region.is_empty() && !fits {
            let right = format!("<Region>{}</Region>", self.profile.region);
            return Some(refusal(400, "AuthorizationHeaderMalformed", &right));
        }
        None
    }
}

fn refusal(status: u16, code: &str, more: &str) -> Response<Body> {
    let body = format!("<Error><Code>{code}</Code><Message>Scripted</Message>{more}</Error>");
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// Reads the request's body first, so that the connection can go on.
async fn drain(request: Request<Incoming>, response: Response<Body>) -> Response<Body> {
    let mut body = request.into_body();
    while let Some(Ok(_)) =
        std::future::poll_fn(|context| hyper::body::Body::poll_frame(Pin::new(&mut body), context)).await
    {
    }
    response
}

async fn broken(response: Response<Body>, bytes: usize, stalls: Option<Abandoned>) -> Response<Body> {
    let (mut parts, mut body) = response.into_parts();
    let mut data = Vec::new();
    while let Some(Ok(chunk)) =
        std::future::poll_fn(|context| futures_core::Stream::poll_next(Pin::new(&mut body), context)).await
    {
        data.extend_from_slice(&chunk);
    }
    parts.headers.insert("content-length", data.len().into());
    data.truncate(bytes);
    Response::from_parts(parts, Body::http_body_unsync(Broken { data: Some(data.into()), stalls }))
}

/// A body that ends with an error, or never.
struct Broken {
    data: Option<Bytes>,
    stalls: Option<Abandoned>,
}

/// Counts itself when it is dropped.
struct Abandoned(Arc<AtomicU64>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl hyper::body::Body for Broken {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        match self.data.take().filter(|data| !data.is_empty()) {
            Some(data) => Poll::Ready(Some(Ok(hyper::body::Frame::data(data)))),
            None if self.stalls.is_none() => Poll::Ready(Some(Err(std::io::Error::other("cut")))),
            None => Poll::Pending,
        }
    }
}
