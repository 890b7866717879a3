//! Requests to the bucket: addressed, checksummed, signed and judged in one place.
//!
//! opendal builds most requests and reads most answers; it hands them here as its HTTP transport, unsigned
//! and for a made-up endpoint. So there is one place that knows keys, region and host, and every failure is
//! told from the store's own answer. An answer that is no list never passes for an empty list.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use md5::{Digest, Md5};
use opendal::{Buffer, HttpBody, HttpTransport};
use reqsign_aws_v4::RequestSigner;
use reqsign_core::{Context, SignRequest};
use tokio::sync::OnceCell;

use super::address::{Address, FALLBACK_REGION};
use super::credentials::Credentials;
use super::failure::{self, Failure};
use super::hedge::Hedge;
use super::options::ObjectOptions;
use super::tls;
use super::wire::Wire;
use super::xml;
use crate::backend::BackendErrorKind;
use crate::error::Result as AnyResult;

/// The endpoint and bucket that opendal is told; no request ever goes there.
pub(super) const ENDPOINT: &str = "http://store.invalid";
/// See [`ENDPOINT`].
pub(super) const BUCKET: &str = "bucket";

/// The bucket, ready for requests.
pub(super) struct Store {
    wire: Wire,
    pub(super) address: Address,
    credentials: Credentials,
    region: OnceCell<String>,
    pub(super) hedge: Hedge,
}

impl Store {
    /// Checks the options; no network.
    pub(super) fn new(options: &ObjectOptions) -> AnyResult<Self> {
        Ok(Self {
            wire: Wire::new(tls::store_client(options)?, options.timeouts).through(&options.proxies),
            address: Address::new(options)?,
            credentials: Credentials::new(options),
            region: OnceCell::new(),
            hedge: Hedge::new(Arc::clone(&options.hedges)),
        })
    }

    /// Sends a request whose URI is a path in the bucket (`/key` or `/?query`); failures are judged.
    pub(super) async fn send(&self, request: Request<Buffer>) -> Result<Response<Bytes>, Failure> {
        match self.region.get().or(self.address.region.as_ref()) {
            Some(region) => self.send_in(request, region).await,
            None => self.send_first(request).await,
        }
    }

    /// Sends a request while the region is not known. Most stores take any, and those that do not mostly name theirs
    /// when they refuse: asking first would cost every run a round trip.
    async fn send_first(&self, request: Request<Buffer>) -> Result<Response<Bytes>, Failure> {
        let answer = self.send_in(request.clone(), FALLBACK_REGION).await;
        let region = match &answer {
            Err(failure) if failure.temporary || failure.kind == BackendErrorKind::Unreachable => {
                return answer;
            }
            Err(Failure { region: Some(region), .. }) => region.clone(),
            Err(failure) if matches!(failure.kind, BackendErrorKind::Denied | BackendErrorKind::Other) => {
                self.ask_region().await?
            }
            _ => FALLBACK_REGION.to_owned(),
        };
        let region = self.region.get_or_init(|| async { region }).await;
        if region == FALLBACK_REGION { answer } else { self.send_in(request, region).await }
    }

    /// As `send`, signed for a region.
    pub(super) async fn send_in(
        &self,
        request: Request<Buffer>,
        region: &str,
    ) -> Result<Response<Bytes>, Failure> {
        let is_post = request.method() == Method::POST;
        let request = self.sign(request, region).await?;
        let answer = self.wire.send(request).await?;
        let status = answer.status();
        if status.is_success() && !(is_post && is_error(answer.body())) {
            return Ok(answer);
        }
        // S3 may say 200 first and fail afterwards.
        let status = if status.is_success() { StatusCode::INTERNAL_SERVER_ERROR } else { status };
        let mut failure = failure::of_answer(status, answer.headers(), answer.body(), &self.address.bucket);
        if status == StatusCode::SERVICE_UNAVAILABLE || failure.kind == BackendErrorKind::Throttled {
            self.hedge.rest();
        }
        if matches!(failure.code.as_str(), "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired")
        {
            failure.temporary = self.credentials.forget().await;
        }
        Err(failure)
    }

    /// The region by the bucket's own word; where the store does not tell (R2 does not implement it, policies forbid
    /// it), `us-east-1`.
    async fn ask_region(&self) -> Result<String, Failure> {
        let request = bare(Method::GET, "/?location")?;
        match self.send_in(request, FALLBACK_REGION).await {
            Ok(answer) => Ok(location_of(answer.body())),
            Err(failure) if failure.code == "NoSuchBucket" => Err(failure),
            Err(Failure { region: Some(region), .. }) => Ok(region),
            Err(failure) if failure.temporary || failure.kind == BackendErrorKind::Unreachable => {
                Err(failure)
            }
            Err(_) => Ok(FALLBACK_REGION.to_owned()),
        }
    }

    async fn sign(&self, request: Request<Buffer>, region: &str) -> Result<Request<Buffer>, Failure> {
        let other = |cause: String| Failure::lasting(BackendErrorKind::Other, cause);
        let (mut parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let url = self.address.url(target, region).map_err(other)?;
        parts.uri = url.as_str().parse().map_err(|_| other(format!("invalid URL {url}")))?;
        if matches!(parts.method, Method::PUT | Method::POST) {
            let sum = HeaderValue::from_str(&content_md5(&body)).map_err(|error| other(error.to_string()))?;
            parts.headers.insert(HeaderName::from_static("content-md5"), sum);
        }
        let keys = self.credentials.current().await?;
        let hand = RequestSigner::new("s3", region);
        let signed = hand.sign_request(&Context::new(), &mut parts, Some(&keys), None).await;
        signed.map_err(|error| other(format!("cannot sign the request: {error}")))?;
        // The HTTP client writes the same host itself.
        parts.headers.remove(http::header::HOST);
        Ok(Request::from_parts(parts, body))
    }
}

/// A request without a body.
pub(super) fn bare(method: Method, target: &str) -> Result<Request<Buffer>, Failure> {
    Request::builder()
        .method(method)
        .uri(target)
        .body(Buffer::new())
        .map_err(|error| Failure::lasting(BackendErrorKind::Other, error.to_string()))
}

/// `Content-MD5`: Object Lock wants it, and it is the one checksum that every store knows.
fn content_md5(body: &Buffer) -> String {
    let mut digest = Md5::new();
    for part in body.clone() {
        digest.update(&part);
    }
    BASE64_STANDARD.encode(digest.finalize())
}

fn is_error(body: &[u8]) -> bool {
    xml::parse(body).is_some_and(|document| document.root == "Error")
}

/// An empty constraint is the first region; `EU` is the old name of one.
fn location_of(body: &[u8]) -> String {
    let document = xml::parse(body);
    match document.as_ref().and_then(|document| document.text("LocationConstraint")) {
        Some("EU") => "eu-west-1".to_owned(),
        Some(region) if !region.is_empty() => region.to_owned(),
        _ => FALLBACK_REGION.to_owned(),
    }
}

/// The store as opendal's HTTP transport.
pub(super) struct Bridge(pub(super) Arc<Store>);

impl HttpTransport for Bridge {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (mut parts, body) = request.into_parts();
        let target = target_of(&parts.uri);
        let is_list = parts.method == Method::GET && target.starts_with("/?list-type=2");
        parts.uri = target.parse().map_err(|_| {
            opendal::Error::from(Failure::lasting(BackendErrorKind::Other, format!("invalid path {target}")))
        })?;
        let answer = self.0.send(Request::from_parts(parts, body)).await?;
        if is_list && !is_whole_list(answer.body()) {
            let cause = "the store's answer is not a whole list; is this an S3 endpoint?";
            return Err(Failure::passing(BackendErrorKind::Damaged, cause).into());
        }
        Ok(answer.map(|body| HttpBody::new(Once(Some(Buffer::from(body))), None)))
    }
}

/// The path in the bucket of a URI that opendal made.
fn target_of(uri: &http::Uri) -> String {
    let whole = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let rest = whole.strip_prefix('/').and_then(|rest| rest.strip_prefix(BUCKET)).unwrap_or(whole);
    if rest.starts_with('/') { rest.to_owned() } else { format!("/{rest}") }
}

/// opendal reads any XML as a list, an empty one if need be, and follows a list without an end for ever.
fn is_whole_list(body: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(body) else { return false };
    let is_list = text.contains("<ListBucketResult") && text.trim_end().ends_with("</ListBucketResult>");
    let goes_on = text.contains("<IsTruncated>true</IsTruncated>");
    is_list && (!goes_on || text.contains("<NextContinuationToken>"))
}

/// A stream of one buffer.
struct Once(Option<Buffer>);

impl futures_core::Stream for Once {
    type Item = opendal::Result<Buffer>;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        std::task::Poll::Ready(self.0.take().filter(|buffer| !buffer.is_empty()).map(Ok))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn only_a_whole_list_is_a_list() {
        let list = |inner: &str| {
            format!("<?xml version=\"1.0\"?><ListBucketResult xmlns=\"x\">{inner}</ListBucketResult>\n")
        };
        assert!(is_whole_list(list("").as_bytes()));
        let page = "<IsTruncated>true</IsTruncated>";
        assert!(is_whole_list(
            list(&format!("{page}<NextContinuationToken>t</NextContinuationToken>")).as_bytes()
        ));
        assert!(!is_whole_list(list(page).as_bytes()));
        assert!(!is_whole_list(b"<html><body>It works!</body></html>"));
        assert!(!is_whole_list(b"<ListBucketResult><Contents>"));
        assert!(!is_whole_list(b""));
    }

    #[test]
    fn paths_inside_the_bucket() {
        for (uri, want) in [
            ("http://store.invalid/bucket/p/keys/k", "/p/keys/k"),
            ("http://store.invalid/bucket?list-type=2&prefix=bucket/", "/?list-type=2&prefix=bucket/"),
            ("http://store.invalid/bucket/bucket/config", "/bucket/config"),
        ] {
            assert_eq!(target_of(&uri.parse().unwrap()), want);
        }
    }

    #[test]
    fn locations() {
        for (body, want) in [
            ("<LocationConstraint xmlns=\"x\">eu-north-1</LocationConstraint>", "eu-north-1"),
            ("<LocationConstraint>EU</LocationConstraint>", "eu-west-1"),
            ("<LocationConstraint/>", "us-east-1"),
            ("", "us-east-1"),
        ] {
            assert_eq!(location_of(body.as_bytes()), want);
        }
    }
}
