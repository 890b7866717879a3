//! The requests that opendal has no words for: does the bucket exist, make it, delete a thousand keys with
//! an answer for each.

use std::collections::HashMap;

use http::header::CONTENT_TYPE;
use http::{Method, Request};
use opendal::Buffer;

use super::address::FALLBACK_REGION;
use super::failure::{self, Failure};
use super::store::{Store, bare};
use super::xml;
use crate::backend::BackendErrorKind;

/// The most keys that one `DeleteObjects` may name (S3 API reference).
pub(super) const BATCH_KEYS: usize = 1000;

/// Whether the bucket exists. A bucket that may not be listed does: the first read or write tells more.
pub(super) async fn exists(store: &Store) -> Result<bool, Failure> {
    match store.send(bare(Method::GET, "/?list-type=2&max-keys=1")?).await {
        Ok(_) => Ok(true),
        Err(failure) if failure.code == "NoSuchBucket" => Ok(false),
        Err(failure) if failure.code == "AccessDenied" => Ok(true),
        Err(failure) => Err(failure),
    }
}

/// Makes the bucket; one that is already ours is fine.
pub(super) async fn create(store: &Store) -> Result<(), Failure> {
    let region = store.address.region.as_deref().unwrap_or(FALLBACK_REGION);
    let body = if matches!(region, FALLBACK_REGION | "auto") {
        String::new()
    } else {
        let namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
        let region = xml::escape(region);
        format!(
            "<CreateBucketConfiguration xmlns=\"{namespace}\"><LocationConstraint>{region}</LocationConstraint>\
             </CreateBucketConfiguration>"
        )
    };
    match store.send_in(with_xml(Method::PUT, "/", body)?, region).await {
        Err(failure) if failure.kind != BackendErrorKind::Exists => Err(failure),
        _ => Ok(()),
    }
}

/// Deletes up to [`BATCH_KEYS`] keys; the failures by key. A key that is not there is no failure.
pub(super) async fn delete(store: &Store, keys: &[String]) -> Result<HashMap<String, Failure>, Failure> {
    let mut body = "<Delete><Quiet>true</Quiet>".to_owned();
    for key in keys {
        body.push_str("<Object><Key>");
        body.push_str(&xml::escape(key));
        body.push_str("</Key></Object>");
    }
    body.push_str("</Delete>");
    let answer = store.send(with_xml(Method::POST, "/?delete", body)?).await?;
    failures_of(answer.body()).ok_or_else(|| {
        Failure::passing(BackendErrorKind::Damaged, "the store's answer to a delete of many is not whole")
    })
}

/// `DeleteResult` → failures; none if the answer is something else.
fn failures_of(body: &[u8]) -> Option<HashMap<String, Failure>> {
    let document = xml::parse(body).filter(|document| document.root == "DeleteResult")?;
    let mut failures = HashMap::new();
    for leaf in document.leaves.iter().filter(|leaf| leaf.name == "Code") {
        let sibling = |name: &str| {
            let same = |other: &&xml::Leaf| other.parent == leaf.parent && other.name == name;
            document.leaves.iter().find(same).map(|found| found.text.as_str()).unwrap_or_default()
        };
        let failure = failure::of_code(&leaf.text, sibling("Message"));
        if failure.kind != BackendErrorKind::NotFound {
            failures.insert(sibling("Key").to_owned(), failure);
        }
    }
    Some(failures)
}

fn with_xml(method: Method, target: &str, body: String) -> Result<Request<Buffer>, Failure> {
    Request::builder()
        .method(method)
        .uri(target)
        .header(CONTENT_TYPE, "application/xml")
        .body(Buffer::from(body))
        .map_err(|error| Failure::lasting(BackendErrorKind::Other, error.to_string()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn each_key_has_its_own_failure() {
        let body =
            b"<DeleteResult><Error><Key>p/a</Key><Code>AccessDenied</Code><Message>No</Message></Error>\
            <Error><Code>InternalError</Code><Key>p/b</Key></Error>\
            <Error><Key>p/c</Key><Code>NoSuchKey</Code></Error></DeleteResult>";
        let failures = failures_of(body).unwrap();
        assert_eq!(failures.len(), 2);
        assert_eq!(failures.get("p/a").unwrap().kind, BackendErrorKind::Denied);
        assert!(failures.get("p/b").unwrap().temporary);
        assert!(failures_of(b"<DeleteResult/>").unwrap().is_empty());
        assert!(failures_of(b"<html/>").is_none());
    }
}
