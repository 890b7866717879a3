//! Endpoint and bucket → the URL of a request and the region to sign for. Pure; no network.
//!
//! Rules as minio-go and restic have them: the bucket stands in the host name for Amazon, Google and
//! Aliyun, except with https and a dotted bucket (no certificate fits `a.b.s3…`), else in the path.

use reqwest::Url;

use super::options::{Addressing, ObjectOptions};
use crate::error::{Error, ErrorKind, Result};

/// Signed for when nothing else is known.
pub(super) const FALLBACK_REGION: &str = "us-east-1";

/// Where requests go.
#[derive(Debug, Clone)]
pub(super) struct Address {
    /// `scheme://host[:port]` without a default port.
    base: Url,
    /// The bucket's name.
    pub(super) bucket: String,
    /// Whether the bucket stands in the host name.
    virtual_host: bool,
    /// The region that the options or the host name tell.
    pub(super) region: Option<String>,
}

impl Address {
    /// Checks endpoint, bucket and addressing.
    pub(super) fn new(options: &ObjectOptions) -> Result<Self> {
        let endpoint = options.endpoint.as_deref().unwrap_or("https://s3.amazonaws.com");
        let invalid = |cause: &str| Error::usage("invalid S3 endpoint").at(endpoint).because(cause);
        let base = Url::parse(endpoint).map_err(|error| invalid(&error.to_string()))?;
        let host = base.host_str().unwrap_or_default().to_ascii_lowercase();
        if !matches!(base.scheme(), "http" | "https") || host.is_empty() {
            return Err(invalid("want http://host or https://host"));
        }
        if base.path() != "/" || base.query().is_some() || !base.username().is_empty() {
            return Err(invalid("want scheme, host and port only"));
        }
        if options.bucket.is_empty() || options.bucket.contains('/') {
            return Err(Error::usage("invalid bucket name").at(&options.bucket));
        }
        let virtual_host = match options.addressing {
            Addressing::Path => false,
            Addressing::Virtual => base.domain().is_some(),
            Addressing::Auto => {
                wants_virtual_host(&host) && !(base.scheme() == "https" && options.bucket.contains('.'))
            }
        };
        let region = options.region.clone().or_else(|| region_of_host(&host));
        let address = Self { base, bucket: options.bucket.clone(), virtual_host, region };
        address.url("/", address.region.as_deref().unwrap_or(FALLBACK_REGION)).map_err(|cause| {
            Error::new(ErrorKind::Usage, "invalid bucket name").at(&options.bucket).because(cause)
        })?;
        Ok(address)
    }

    /// The endpoint for people.
    pub(super) fn endpoint(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// The URL of `key_and_query` (`/` and an encoded key, or `/?query`) in the bucket.
    pub(super) fn url(&self, key_and_query: &str, region: &str) -> Result<Url, String> {
        let mut base = self.base.clone();
        let host = base.host_str().unwrap_or_default();
        if host == "s3.amazonaws.com" && region != FALLBACK_REGION {
            let regional = format!("s3.{region}.amazonaws.com");
            base.set_host(Some(&regional)).map_err(|error| error.to_string())?;
        }
        if self.virtual_host {
            let host = format!("{}.{}", self.bucket, base.host_str().unwrap_or_default());
            base.set_host(Some(&host)).map_err(|error| error.to_string())?;
        }
        let root = base.as_str().trim_end_matches('/');
        let text = match (self.virtual_host, key_and_query.strip_prefix("/?")) {
            (true, _) => format!("{root}{key_and_query}"),
            (false, Some(query)) => format!("{root}/{}?{query}", self.bucket),
            (false, None) => format!("{root}/{}{key_and_query}", self.bucket),
        };
        Url::parse(&text).map_err(|error| error.to_string())
    }
}

/// Amazon, Google and Aliyun serve buckets under names of their own.
fn wants_virtual_host(host: &str) -> bool {
    host == "storage.googleapis.com"
        || [".amazonaws.com", ".amazonaws.com.cn", ".aliyuncs.com"].iter().any(|tail| host.ends_with(tail))
}

/// The region that a host name tells: `s3.<region>.…` and `s3-<region>.…`, `auto` for Cloudflare R2.
fn region_of_host(host: &str) -> Option<String> {
    if host.ends_with(".r2.cloudflarestorage.com") {
        return Some("auto".to_owned());
    }
    let mut labels = host.split('.');
    let first = labels.find(|label| *label == "s3" || label.starts_with("s3-"))?;
    let candidates =
        first.strip_prefix("s3-").map(str::to_owned).into_iter().chain(labels.map(str::to_owned));
    candidates
        .map(|label| label.strip_prefix("fips-").map(str::to_owned).unwrap_or(label))
        .take(3)
        .find(|label| is_region(label))
}

/// `eu-central-1`, `us-gov-west-1`, `eu-central-003`: two letters, words, a number.
fn is_region(label: &str) -> bool {
    let mut words: Vec<&str> = label.split('-').collect();
    let number = words.pop().unwrap_or_default();
    words.len() >= 2
        && words.first().is_some_and(|word| word.len() == 2)
        && words.iter().all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()))
        && !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn address(endpoint: &str, bucket: &str, addressing: Addressing) -> Address {
        let endpoint = Some(endpoint.to_owned());
        Address::new(&ObjectOptions {
            endpoint,
            bucket: bucket.to_owned(),
            addressing,
            ..ObjectOptions::default()
        })
        .unwrap()
    }

    fn url(endpoint: &str, bucket: &str, key: &str) -> String {
        let address = address(endpoint, bucket, Addressing::Auto);
        let region = address.region.clone().unwrap_or_else(|| "eu-west-1".to_owned());
        address.url(key, &region).unwrap().to_string()
    }

    #[test]
    fn the_bucket_stands_where_the_store_wants_it() {
        for (endpoint, bucket, key, want) in [
            ("http://127.0.0.1:9000", "b", "/a/k", "http://127.0.0.1:9000/b/a/k"),
            ("http://[::1]:9000", "b", "/?location", "http://[::1]:9000/b?location"),
            ("https://b.example.com:443/", "b", "/k", "https://b.example.com/b/k"),
            ("https://s3.amazonaws.com", "b", "/k", "https://b.s3.eu-west-1.amazonaws.com/k"),
            ("https://s3.amazonaws.com", "a.b", "/k", "https://s3.eu-west-1.amazonaws.com/a.b/k"),
            ("http://s3.amazonaws.com", "a.b", "/k", "http://a.b.s3.eu-west-1.amazonaws.com/k"),
            (
                "https://s3.eu-north-1.amazonaws.com",
                "b",
                "/?x=1",
                "https://b.s3.eu-north-1.amazonaws.com/?x=1",
            ),
            ("https://storage.googleapis.com", "b", "/k", "https://b.storage.googleapis.com/k"),
            ("https://oss-cn-beijing.aliyuncs.com", "b", "/k", "https://b.oss-cn-beijing.aliyuncs.com/k"),
            ("https://a1.r2.cloudflarestorage.com", "b", "/k", "https://a1.r2.cloudflarestorage.com/b/k"),
        ] {
            assert_eq!(url(endpoint, bucket, key), want);
        }
        let forced = address("http://minio.lan:9000", "b", Addressing::Virtual);
        assert_eq!(forced.url("/k", "r").unwrap().as_str(), "http://b.minio.lan:9000/k");
    }

    #[test]
    fn regions_are_read_from_host_names() {
        for (host, want) in [
            ("s3.eu-central-1.amazonaws.com", Some("eu-central-1")),
            ("s3-us-west-2.amazonaws.com", Some("us-west-2")),
            ("s3.dualstack.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("s3.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("s3-fips.us-east-2.amazonaws.com", Some("us-east-2")),
            ("s3.us-west-004.backblazeb2.com", Some("us-west-004")),
            ("0a.r2.cloudflarestorage.com", Some("auto")),
            ("0a.eu.r2.cloudflarestorage.com", Some("auto")),
            ("s3.amazonaws.com", None),
            ("s3.example.com", None),
            ("minio.lan", None),
        ] {
            assert_eq!(region_of_host(host).as_deref(), want, "{host}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (endpoint, bucket) in [
            ("ftp://h", "b"),
            ("https://h/path", "b"),
            ("https://u:p@h", "b"),
            ("http://h", ""),
            ("host", "b"),
        ] {
            let options = ObjectOptions {
                endpoint: Some(endpoint.to_owned()),
                bucket: bucket.to_owned(),
                ..ObjectOptions::default()
            };
            assert_eq!(Address::new(&options).unwrap_err().kind, ErrorKind::Usage, "{endpoint}");
        }
    }
}
