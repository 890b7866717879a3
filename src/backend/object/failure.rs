//! What went wrong with a request, told from the answer or from the chain of causes below it.
//!
//! The cause is one short line that says what the store or the network said. Signed texts, tokens and
//! keys never enter it: only S3's `Code` and `Message`, host names and the system's words.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use http::{HeaderMap, StatusCode};

use super::xml;
use crate::backend::{BackendError, BackendErrorKind};

/// A failed request before it is told which file it was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) kind: BackendErrorKind,
    pub(super) cause: String,
    pub(super) temporary: bool,
    /// S3's code, where there was one.
    pub(super) code: String,
    /// The region that the store names as the right one.
    pub(super) region: Option<String>,
}

impl Failure {
    /// A failure that stays.
    pub(super) fn lasting(kind: BackendErrorKind, cause: impl Into<String>) -> Self {
        Self { kind, cause: cause.into(), temporary: false, code: String::new(), region: None }
    }

    /// A failure that may pass.
    pub(super) fn passing(kind: BackendErrorKind, cause: impl Into<String>) -> Self {
        Self { temporary: true, ..Self::lasting(kind, cause) }
    }

    /// Whether the store said that it does not know such a request.
    pub(super) fn is_not_implemented(&self) -> bool {
        matches!(self.code.as_str(), "NotImplemented" | "MethodNotAllowed")
    }

    /// The error that a caller of the backend sees.
    pub(super) fn at(self, operation: &'static str, path: &str) -> BackendError {
        let Self { kind, cause, temporary, .. } = self;
        BackendError { kind, operation, path: path.to_owned(), cause, temporary }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.cause)
    }
}

impl StdError for Failure {}

impl From<Failure> for opendal::Error {
    /// Passes through opendal as a source; `From<opendal::Error>` finds it again.
    fn from(failure: Failure) -> Self {
        Self::new(opendal::ErrorKind::Unexpected, failure.cause.clone()).set_source(failure)
    }
}

impl From<opendal::Error> for Failure {
    fn from(error: opendal::Error) -> Self {
        if let Some(failure) = causes(&error).find_map(|cause| cause.downcast_ref::<Self>()) {
            return failure.clone();
        }
        // opendal's own words come with a blob of context; its message is the one line. What it says
        // itself is about answers that it cannot read.
        Self {
            temporary: error.is_temporary(),
            ..Self::lasting(BackendErrorKind::Damaged, first_line(error.message()))
        }
    }
}

/// The failure that an answer's status and body tell.
pub(super) fn of_answer(status: StatusCode, headers: &HeaderMap, body: &[u8], bucket: &str) -> Failure {
    let document =
        xml::parse(body).filter(|document| document.root == "Error" || document.root == "ErrorResponse");
    let field = |name: &str| document.as_ref().and_then(|document| document.text(name)).unwrap_or_default();
    let code = field("Code");
    let message = if document.is_none() && is_plain_text(headers) {
        first_line(&String::from_utf8_lossy(body))
    } else {
        first_line(field("Message"))
    };
    let region = Some(field("Region"))
        .filter(|region| !region.is_empty())
        .or_else(|| headers.get("x-amz-bucket-region")?.to_str().ok())
        .map(str::to_owned);
    let (kind, temporary) = kind_of(status, code);
    let said = said(status, code, &message);
    let cause = match kind {
        BackendErrorKind::NotFound if code == "NoSuchBucket" => format!("the bucket {bucket} does not exist"),
        BackendErrorKind::NotFound => "the store has no such file".to_owned(),
        BackendErrorKind::Exists => "the file exists already".to_owned(),
        BackendErrorKind::Denied if code == "RequestTimeTooSkewed" => {
            "the store denied access: this machine's clock differs from the store's".to_owned()
        }
        BackendErrorKind::Denied => format!("the store denied access: {said}"),
        BackendErrorKind::Throttled => format!("the store asks to slow down: {said}"),
        BackendErrorKind::Full => format!("the store is full: {said}"),
        _ => match (&region, status.is_redirection()) {
            (Some(region), true) => {
                format!("the bucket is in region {region}: use that region and its endpoint")
            }
            _ => format!("the store answered {said}"),
        },
    };
    Failure { kind, cause, temporary, code: code.to_owned(), region }
}

/// The failure of one key in the answer to a batch: a code without a status.
pub(super) fn of_code(code: &str, message: &str) -> Failure {
    let (kind, temporary) = kind_of(StatusCode::OK, code);
    let said = said(StatusCode::OK, code, &first_line(message));
    let cause = match kind {
        BackendErrorKind::Denied => format!("the store denied access: {said}"),
        _ => format!("the store answered {said}"),
    };
    Failure { kind, cause, temporary, code: code.to_owned(), region: None }
}

/// What a caller can do about a status and S3's code, and whether the same request may succeed later.
fn kind_of(status: StatusCode, code: &str) -> (BackendErrorKind, bool) {
    use BackendErrorKind as Kind;
    match code {
        "NoSuchKey" | "NoSuchBucket" | "NoSuchUpload" => return (Kind::NotFound, false),
        "PreconditionFailed" | "BucketAlreadyOwnedByYou" => return (Kind::Exists, false),
        "InvalidRange" => return (Kind::Damaged, false),
        "BadDigest" | "IncompleteBody" | "XAmzContentSHA256Mismatch" => return (Kind::Damaged, true),
        "SlowDown"
        | "SlowDownRead"
        | "SlowDownWrite"
        | "TooManyRequests"
        | "Throttling"
        | "ThrottlingException"
        | "RequestLimitExceeded"
        | "ConditionalRequestConflict"
        | "OperationAborted"
        | "ServerBusy" => {
            return (Kind::Throttled, true);
        }
        "XMinioStorageFull" | "XMinioAdminBucketQuotaExceeded" | "QuotaExceeded" | "InsufficientStorage" => {
            return (Kind::Full, false);
        }
        "RequestTimeout" | "InternalError" | "ServiceUnavailable" => return (Kind::Unreachable, true),
        "NotImplemented" | "MethodNotAllowed" => return (Kind::Other, false),
        "AccessDenied"
        | "SignatureDoesNotMatch"
        | "InvalidAccessKeyId"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "InvalidToken"
        | "InvalidIdentityToken"
        | "TokenRefreshRequired"
        | "AuthorizationHeaderMalformed"
        | "RequestTimeTooSkewed"
        | "InvalidClientTokenId" => return (Kind::Denied, false),
        _ => {}
    }
    match status.as_u16() {
        404 => (Kind::NotFound, false),
        401 | 403 | 407 => (Kind::Denied, false),
        412 => (Kind::Exists, false),
        416 => (Kind::Damaged, false),
        429 => (Kind::Throttled, true),
        507 => (Kind::Full, false),
        501 | 505 => (Kind::Other, false),
        307 | 308 => (Kind::Other, true),
        408 | 500..=599 => (Kind::Unreachable, true),
        _ => (Kind::Other, false),
    }
}

/// The failure that stands at the end of a chain of causes: refused, unresolved, untrusted, cut. Behind a
/// proxy it is the proxy that refuses, or has no address.
pub(super) fn of_network(error: &reqwest::Error, host: &str, proxy: Option<&str>) -> Failure {
    use BackendErrorKind::Unreachable;
    if let Some(tls) = find::<rustls::Error>(error) {
        return of_tls(tls, host);
    }
    let resolves = !causes(error).any(|cause| cause.to_string().starts_with("dns error"));
    let during = if error.is_connect() { "cannot connect to" } else { "lost the connection to" };
    let name = |host: &str| host.rsplit_once(':').map_or(host, |(name, _)| name).to_owned();
    let unresolved = match proxy {
        Some(proxy) => format!("cannot resolve the proxy {}", name(proxy)),
        None => format!("cannot resolve host {}", name(host)),
    };
    let host = &proxy.map_or_else(|| host.to_owned(), |proxy| format!("{host} through the proxy {proxy}"));
    let cause = match find::<io::Error>(error) {
        _ if !resolves => unresolved,
        _ if error.is_timeout() => format!("{during} {host}: timed out"),
        Some(io) => format!("{during} {host}: {}", io_words(io)),
        None => match causes(error).last() {
            Some(last) => format!("{during} {host}: {}", first_line(&last.to_string())),
            None => format!("{during} {host}"),
        },
    };
    Failure::passing(Unreachable, cause)
}

fn of_tls(error: &rustls::Error, host: &str) -> Failure {
    use rustls::{CertificateError, Error as Tls};
    let untrusted = |why: &str| format!("the server's certificate is not trusted: {why}");
    let cause = match error {
        Tls::InvalidCertificate(CertificateError::UnknownIssuer) => untrusted("unknown issuer"),
        Tls::InvalidCertificate(CertificateError::BadSignature) => {
            untrusted("signed by another authority of that name")
        }
        Tls::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            untrusted("expired")
        }
        Tls::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => untrusted("not valid yet"),
        Tls::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => untrusted(&format!("it is not for {host}")),
        Tls::InvalidCertificate(other) => untrusted(&first_line(&other.to_string())),
        Tls::InvalidMessage(_) => format!("{host} does not speak TLS; is http:// meant?"),
        other => format!("TLS with {host} failed: {}", first_line(&other.to_string())),
    };
    Failure::lasting(BackendErrorKind::Unreachable, cause)
}

/// The system's words without the number that Rust appends.
fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            "connection closed by the other side".to_owned()
        }
        io::ErrorKind::TimedOut => "timed out".to_owned(),
        _ => {
            let words = first_line(&error.to_string()).to_lowercase();
            words.split(" (os error").next().unwrap_or_default().to_owned()
        }
    }
}

fn said(status: StatusCode, code: &str, message: &str) -> String {
    let number = status.as_u16().to_string();
    let mut text = match (code, status) {
        ("", _) => number,
        (_, StatusCode::OK) => code.to_owned(),
        (_, status) if status.is_server_error() => format!("{number} {code}"),
        _ => code.to_owned(),
    };
    if !message.is_empty() && message != code {
        text.push_str(": ");
        text.push_str(message);
    }
    text
}

/// The first line, at most 160 characters, without a full stop at its end.
fn first_line(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let printable = line.chars().filter(|character| !character.is_control()).take(160).collect::<String>();
    printable.trim_end_matches('.').to_owned()
}

fn is_plain_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("text/plain"))
}

fn find<'e, T: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e T> {
    causes(error).find_map(|cause| match cause.downcast_ref::<io::Error>() {
        // An io::Error hides what it wraps from `source`.
        Some(io) if cause.downcast_ref::<T>().is_none() => {
            io.get_ref().and_then(|inner| find::<T>(inner as &(dyn StdError + 'static)))
        }
        _ => cause.downcast_ref::<T>(),
    })
}

fn causes<'e>(error: &'e (dyn StdError + 'static)) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| StdError::source(*error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use BackendErrorKind as Kind;

    use super::*;

    fn answer(status: u16, code: &str) -> Failure {
        let body = format!("<Error><Code>{code}</Code><Message>Words.</Message><Key>k</Key></Error>");
        of_answer(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes(), "b")
    }

    #[test]
    fn answers_are_what_a_caller_can_act_on() {
        for (status, code, kind, temporary) in [
            (404, "NoSuchKey", Kind::NotFound, false),
            (404, "NoSuchBucket", Kind::NotFound, false),
            (403, "SignatureDoesNotMatch", Kind::Denied, false),
            (403, "AnythingElse", Kind::Denied, false),
            (400, "ExpiredToken", Kind::Denied, false),
            (400, "SlowDown", Kind::Throttled, true),
            (503, "SlowDown", Kind::Throttled, true),
            (429, "", Kind::Throttled, true),
            (503, "", Kind::Unreachable, true),
            (500, "InternalError", Kind::Unreachable, true),
            (501, "NotImplemented", Kind::Other, false),
            (412, "PreconditionFailed", Kind::Exists, false),
            (416, "InvalidRange", Kind::Damaged, false),
            (400, "BadDigest", Kind::Damaged, true),
            (507, "XMinioStorageFull", Kind::Full, false),
            (400, "MalformedXML", Kind::Other, false),
        ] {
            let failure = answer(status, code);
            assert_eq!((failure.kind, failure.temporary), (kind, temporary), "{status} {code}");
            assert!(failure.cause.len() < 200 && !failure.cause.contains('\n'));
        }
        assert_eq!(answer(404, "NoSuchBucket").cause, "the bucket b does not exist");
        assert_eq!(answer(403, "AccessDenied").cause, "the store denied access: AccessDenied: Words");
        assert_eq!(answer(500, "InternalError").cause, "the store answered 500 InternalError: Words");
    }

    #[test]
    fn pages_that_are_not_s3_do_not_flood_the_line() {
        let html = b"<html><body>\n<h1>502</h1><p>secret</p></body></html>";
        let failure = of_answer(StatusCode::BAD_GATEWAY, &HeaderMap::new(), html, "b");
        assert_eq!((failure.kind, failure.cause.as_str()), (Kind::Unreachable, "the store answered 502"));
    }

    #[test]
    fn a_failure_survives_the_way_through_opendal() {
        let failure = Failure::passing(Kind::Throttled, "slow down");
        assert_eq!(Failure::from(opendal::Error::from(failure.clone())), failure);
    }
}
