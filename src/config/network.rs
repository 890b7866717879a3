//! Certificates, proxies and the user agent of HTTP stores.
//!
//! Files are read when a store asks for them, not while parsing: a repository on disk needs none of them.

use std::path::PathBuf;

use super::env::{Lookup, invalid};
use super::secret::{Secret, credentials};
use super::text_file;
use super::variable::Variable;
use super::variables::{
    CUSTOM_CA, HTTP_PROXY, HTTPS_PROXY, NO_PROXY, RESTIC_CACERT, RESTIC_HTTP_USER_AGENT,
    RESTIC_TLS_CLIENT_CERT,
};
use crate::error::Result;

/// How HTTP stores are reached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Network {
    /// PEM files of authorities that replace the system's; empty: the system's.
    pub ca_files: Vec<PathBuf>,
    /// One more such file; it too replaces the system's, as `VolSync`'s mover has it.
    pub custom_ca: Option<PathBuf>,
    /// A PEM file with a client certificate and its key.
    pub client_cert_file: Option<PathBuf>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The proxy for `http://`; its URL may hold a password.
    pub http_proxy: Option<Secret>,
    /// The proxy for `https://`.
    pub https_proxy: Option<Secret>,
    /// Hosts that are reached directly, separated by commas.
    pub no_proxy: Option<String>,
    /// Users and passwords of the proxies.
    credentials: Vec<Secret>,
}

impl Network {
    /// From the variables.
    pub fn parse(lookup: &Lookup) -> Result<Self> {
        let (http_proxy, https_proxy) = (proxy(lookup, &HTTP_PROXY)?, proxy(lookup, &HTTPS_PROXY)?);
        Ok(Self {
            credentials: [&http_proxy, &https_proxy].into_iter().flatten().flat_map(credentials).collect(),
            ca_files: lookup.commas(&RESTIC_CACERT)?.into_iter().map(PathBuf::from).collect(),
            custom_ca: lookup.path(&CUSTOM_CA),
            client_cert_file: lookup.path(&RESTIC_TLS_CLIENT_CERT),
            user_agent: lookup.parse(&RESTIC_HTTP_USER_AGENT, header)?,
            http_proxy,
            https_proxy,
            no_proxy: lookup.text(&NO_PROXY)?.map(str::to_owned),
        })
    }

    /// Every secret in it.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.credentials.iter()
    }

    /// The contents of all files with authorities; empty: the system's count.
    ///
    /// # Errors
    /// A usage error that names the variable of a file that cannot be read.
    pub fn read_authorities(&self) -> Result<Vec<Vec<u8>>> {
        let named = self.ca_files.iter().map(|file| (&RESTIC_CACERT, file));
        let custom = self.custom_ca.iter().map(|file| (&CUSTOM_CA, file));
        named.chain(custom).map(|(variable, file)| Ok(text_file::read(variable, file)?.to_vec())).collect()
    }

    /// The client certificate with its key.
    ///
    /// # Errors
    /// A usage error that names the variable when the file cannot be read.
    pub fn read_client_certificate(&self) -> Result<Option<Secret>> {
        let read = |file: &PathBuf| text_file::read(&RESTIC_TLS_CLIENT_CERT, file);
        Ok(self.client_cert_file.as_ref().map(read).transpose()?.map(|pem| Secret::new(pem.to_vec())))
    }
}

fn header(text: &str) -> Result<String, String> {
    let fits = text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    if fits { Ok(text.to_owned()) } else { Err("printable ASCII characters".to_owned()) }
}

/// A proxy's URL, with `http://` where no scheme is named.
fn proxy(lookup: &Lookup, variable: &Variable) -> Result<Option<Secret>> {
    let Some(text) = lookup.text(variable)? else { return Ok(None) };
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let authority = rest.split('/').next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    if !matches!(scheme, "http" | "https" | "socks5" | "socks5h")
        || host.is_empty()
        || text.contains(char::is_whitespace)
    {
        return Err(invalid(variable, text, "a URL such as http://proxy:3128"));
    }
    Ok(Some(Secret::new(format!("{scheme}://{rest}").into_bytes())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::ffi::OsString;

    use super::super::env::Values;
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Network> {
        let environment =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        Network::parse(&Lookup::new(Values::new(), environment).unwrap())
    }

    #[test]
    fn files_are_read_when_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let [one, two] = ["one", "two"].map(|name| {
            let path = folder.path().join(name);
            std::fs::write(&path, name).unwrap();
            path.to_str().unwrap().to_owned()
        });
        let network = parse(&[
            ("RESTIC_CACERT", &format!("{one},{two}")),
            ("CUSTOM_CA", &two),
            ("RESTIC_TLS_CLIENT_CERT", &one),
        ])
        .unwrap();
        assert_eq!(network.read_authorities().unwrap(), [b"one", b"two", b"two"]);
        assert_eq!(network.read_client_certificate().unwrap().unwrap().bytes(), b"one");
        for name in ["RESTIC_CACERT", "CUSTOM_CA", "RESTIC_TLS_CLIENT_CERT"] {
            let network = parse(&[(name, "/nonexistent")]).unwrap();
            let error =
                network.read_authorities().and(network.read_client_certificate().map(|_| ())).unwrap_err();
            assert_eq!(error.kind.exit_code(), 2);
            assert!(error.to_string().contains(&format!("{name}=/nonexistent: No such file")), "{error}");
        }
        assert_eq!(parse(&[]).unwrap(), Network::default());
        assert_eq!(Network::default().read_authorities().unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn proxies() {
        let network =
            parse(&[("https_proxy", "proxy:3128"), ("HTTP_PROXY", "socks5://u:hunter2@p")]).unwrap();
        assert_eq!(network.https_proxy.as_ref().unwrap().bytes(), b"http://proxy:3128");
        assert_eq!(network.http_proxy.as_ref().unwrap().bytes(), b"socks5://u:hunter2@p");
        assert!(!format!("{network:?}").contains("hunter2"));
        for value in ["ftp://u:hunter2@p", "http://", "http://u:hunter2@", "a b"] {
            let error = parse(&[("HTTPS_PROXY", value)]).unwrap_err().to_string();
            assert!(error.starts_with("invalid value: HTTPS_PROXY=***. Accepted: a URL"), "{error}");
        }
        assert!(parse(&[("RESTIC_HTTP_USER_AGENT", "a\nb")]).is_err());
    }
}
