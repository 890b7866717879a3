//! Keys that the surroundings hand out: a container's endpoint, an instance's metadata service (version 2).
//!
//! Both are asked with short time limits and never through a proxy.

use http::{Method, Request, Response, StatusCode};
use opendal::Buffer;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::super::failure::Failure;
use super::super::options::ContainerCredentials;
use super::super::wire::Wire;
use super::{Keys, denied};
use crate::backend::BackendErrorKind::Unreachable;

const ROLES: &str = "/latest/meta-data/iam/security-credentials/";

/// The answer of both services; other fields are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    access_key_id: String,
    #[serde(default)]
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

/// The keys of a container's task or pod role.
pub(super) async fn of_container(wire: &Wire, container: &ContainerCredentials) -> Result<Keys, Failure> {
    let about =
        |failure: Failure| Failure { cause: format!("container credentials: {}", failure.cause), ..failure };
    let mut headers = Vec::new();
    if let Some(path) = &container.token_file {
        let token = std::fs::read_to_string(path).map_err(|error| {
            denied(format!("cannot read the container authorization token {}: {error}", path.display()))
        })?;
        headers.push(("authorization", Zeroizing::new(token)));
    } else if let Some(token) = &container.token {
        headers.push(("authorization", token.clone()));
    }
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.trim())).collect();
    let answer = send(wire, Method::GET, &container.uri, &headers).await.map_err(about)?;
    keys_of(&answer).map_err(about)
}

/// The keys of the instance's role; none if this machine has no such service or no role.
pub(super) async fn of_instance(wire: &Wire, endpoint: &str) -> Result<Option<Keys>, Failure> {
    let endpoint = endpoint.trim_end_matches('/');
    let token_url = format!("{endpoint}/latest/api/token");
    let ttl = [("x-aws-ec2-metadata-token-ttl-seconds", "21600")];
    let Ok(answer) = send(wire, Method::PUT, &token_url, &ttl).await else { return Ok(None) };
    if !answer.status().is_success() {
        return Ok(None);
    }
    let token = Zeroizing::new(String::from_utf8_lossy(answer.body()).trim().to_owned());
    let headers = [("x-aws-ec2-metadata-token", token.as_str())];
    let about =
        |failure: Failure| Failure { cause: format!("instance credentials: {}", failure.cause), ..failure };
    let answer = send(wire, Method::GET, &format!("{endpoint}{ROLES}"), &headers).await.map_err(about)?;
    let roles = String::from_utf8_lossy(answer.body()).into_owned();
    let Some(role) = roles.lines().next().filter(|role| answer.status().is_success() && !role.is_empty())
    else {
        return Ok(None);
    };
    let answer =
        send(wire, Method::GET, &format!("{endpoint}{ROLES}{role}"), &headers).await.map_err(about)?;
    keys_of(&answer).map_err(about).map(Some)
}

async fn send(
    wire: &Wire,
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
) -> Result<Response<bytes::Bytes>, Failure> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request =
        request.body(Buffer::new()).map_err(|_| denied(format!("invalid URL or token for {url}")))?;
    wire.send(request).await
}

fn keys_of(answer: &Response<bytes::Bytes>) -> Result<Keys, Failure> {
    let status = answer.status();
    if !status.is_success() {
        let cause = format!("the service answered {}", status.as_u16());
        let failure = denied(cause);
        let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        return Err(if passes { Failure { kind: Unreachable, temporary: true, ..failure } } else { failure });
    }
    let keys = serde_json::from_slice::<Answer>(answer.body())
        .ok()
        .filter(|keys| !keys.access_key_id.is_empty() && !keys.secret_access_key.is_empty())
        .ok_or_else(|| denied("the service's answer holds no keys"))?;
    let (access, secret) = (Zeroizing::new(keys.access_key_id), Zeroizing::new(keys.secret_access_key));
    let token = keys.token.map(Zeroizing::new);
    let token = token.as_ref().map(|token| token.as_str());
    Ok(Keys::temporary(&access, &secret, token, keys.expiration.as_deref()))
}
