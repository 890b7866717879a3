//! Which proxy a request takes, for the words of its failure: who blames the store looks in the wrong place.
//!
//! The client decides by itself (`tls.rs`); this follows its rules as far as names go. Where a network of
//! addresses might say otherwise no proxy is named.

use super::options::Proxies;

impl Proxies {
    /// The proxy between here and `host`, as `host:port` without user and password.
    pub(super) fn between(&self, https: bool, host: &str) -> Option<String> {
        let url = if https { self.https.as_ref() } else { self.http.as_ref() }?;
        let direct = |entry: &str| {
            let entry = entry.trim();
            let domain = entry.trim_start_matches("*.").trim_start_matches('.');
            let below = host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
            let is_address = host.starts_with('[') || host.parse::<std::net::IpAddr>().is_ok();
            entry == "*" || (!domain.is_empty() && below) || (is_address && entry.contains('/'))
        };
        if self.none.as_deref().is_some_and(|none| none.split(',').any(direct)) {
            return None;
        }
        let authority = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let authority = authority.split('/').next().unwrap_or_default();
        Some(authority.rsplit('@').next().unwrap_or_default().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_named_without_its_password_and_only_where_it_stands_between() {
        let proxies = Proxies {
            http: Some("http://user:hidden@proxy:3128/".to_owned()),
            https: None,
            none: Some("near.example, .inner.example,10.0.0.0/8".to_owned()),
        };
        assert_eq!(proxies.between(false, "far.example").as_deref(), Some("proxy:3128"));
        assert_eq!(proxies.between(false, "unnear.example").as_deref(), Some("proxy:3128"));
        for host in ["near.example", "s3.near.example", "s3.inner.example", "10.1.2.3"] {
            assert_eq!(proxies.between(false, host), None, "{host}");
        }
        assert_eq!(proxies.between(true, "far.example"), None);
        let all = Proxies { none: Some("*".to_owned()), ..proxies };
        assert_eq!(all.between(false, "far.example"), None);
    }
}
