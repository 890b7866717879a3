//! The token service: a role taken with a token of an identity provider, or with other keys.
//!
//! Form-encoded POST, XML answer (STS API version 2011-06-15). Answers hold secrets and are never shown.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Request};
use opendal::Buffer;
use reqsign_aws_v4::{Credential, RequestSigner};
use reqsign_core::{Context, SignRequest};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::super::address::FALLBACK_REGION;
use super::super::failure::{self, Failure};
use super::super::options::{AssumeRole, WebIdentity};
use super::super::wire::Wire;
use super::super::xml;
use super::{Keys, denied};
use crate::backend::BackendErrorKind;

const VERSION: &str = "2011-06-15";
const SESSION_NAME: &str = "volmover";

/// Takes a role with other keys.
pub(super) async fn assume_role(wire: &Wire, role: &AssumeRole, keys: &Credential) -> Result<Keys, Failure> {
    let region = role.region.as_deref();
    let url = endpoint(role.sts_endpoint.as_deref(), region);
    let mut form = vec![
        ("Action", "AssumeRole"),
        ("Version", VERSION),
        ("RoleArn", role.role_arn.as_str()),
        ("RoleSessionName", role.session_name.as_deref().unwrap_or(SESSION_NAME)),
    ];
    form.extend(role.external_id.as_deref().map(|id| ("ExternalId", id)));
    form.extend(role.policy.as_deref().map(|policy| ("Policy", policy)));
    let (mut parts, body) = post(&url, &form)?.into_parts();
    let mut digest = String::with_capacity(64);
    for byte in Sha256::digest(body.to_bytes()) {
        digest
            .extend([byte >> 4, byte & 15].map(|nibble| char::from_digit(nibble.into(), 16).unwrap_or('0')));
    }
    if let Ok(value) = digest.parse() {
        parts.headers.insert("x-amz-content-sha256", value);
    }
    let hand = RequestSigner::new("sts", region.unwrap_or(FALLBACK_REGION));
    let signed = hand.sign_request(&Context::new(), &mut parts, Some(keys), None).await;
    signed.map_err(|error| denied(format!("cannot sign for the token service: {error}")))?;
    parts.headers.remove(http::header::HOST);
    exchange(wire, Request::from_parts(parts, body), "assume role").await
}

/// Takes a role with the token in a file (a Kubernetes service account).
pub(super) async fn assume_role_with_web_identity(
    wire: &Wire,
    identity: &WebIdentity,
    region: Option<&str>,
) -> Result<Keys, Failure> {
    let token = std::fs::read_to_string(&identity.token_file).map(Zeroizing::new).map_err(|error| {
        denied(format!("cannot read the web identity token {}: {error}", identity.token_file.display()))
    })?;
    let form = [
        ("Action", "AssumeRoleWithWebIdentity"),
        ("Version", VERSION),
        ("RoleArn", identity.role_arn.as_str()),
        ("RoleSessionName", identity.session_name.as_deref().unwrap_or(SESSION_NAME)),
        ("WebIdentityToken", token.trim()),
    ];
    let url = endpoint(identity.sts_endpoint.as_deref(), region);
    exchange(wire, post(&url, &form)?, "web identity").await
}

fn endpoint(given: Option<&str>, region: Option<&str>) -> String {
    let given = given.filter(|given| !given.is_empty());
    let text = match (given, region) {
        (Some(given), _) => given.to_owned(),
        (None, Some(region)) if region != "auto" => format!("https://sts.{region}.amazonaws.com"),
        (None, _) => "https://sts.amazonaws.com".to_owned(),
    };
    let with_scheme = if text.contains("://") { text } else { format!("https://{text}") };
    format!("{}/", with_scheme.trim_end_matches('/'))
}

fn post(url: &str, form: &[(&str, &str)]) -> Result<Request<Buffer>, Failure> {
    let url = reqwest::Url::parse(url)
        .map_err(|error| denied(format!("invalid token service URL {url}: {error}")))?;
    let mut query = url.clone();
    query.query_pairs_mut().clear().extend_pairs(form);
    let body = query.query().unwrap_or_default().to_owned();
    Request::post(url.as_str())
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8")
        .header(ACCEPT, "application/xml")
        .body(Buffer::from(body))
        .map_err(|error| denied(error.to_string()))
}

async fn exchange(wire: &Wire, request: Request<Buffer>, what: &str) -> Result<Keys, Failure> {
    let about = |failure: Failure| Failure { cause: format!("{what}: {}", failure.cause), ..failure };
    let answer = wire.send(request).await.map_err(about)?;
    let (status, body) = (answer.status(), answer.into_body());
    if !status.is_success() {
        let mut failure = failure::of_answer(status, &HeaderMap::new(), &body, "");
        // A token service that answers "bad request" refuses this token, this role or this session.
        if failure.kind == BackendErrorKind::Other || failure.kind == BackendErrorKind::NotFound {
            failure.kind = BackendErrorKind::Denied;
        }
        return Err(about(failure));
    }
    let document = xml::parse(&body);
    let field = |name: &str| {
        document.as_ref().and_then(|document| document.text(name)).filter(|text| !text.is_empty())
    };
    match (field("AccessKeyId"), field("SecretAccessKey")) {
        (Some(access), Some(secret)) => {
            Ok(Keys::temporary(access, secret, field("SessionToken"), field("Expiration")))
        }
        _ => Err(denied(format!("{what}: the token service's answer holds no keys"))),
    }
}
