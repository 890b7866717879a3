//! What the HTTP clients trust and show: roots, client certificate, proxies, connect timeout.
//!
//! Roots: the given PEM files replace the system's (`RESTIC_CACERT`); without system roots (a scratch
//! image) the Mozilla roots that are compiled in are used. `SSL_CERT_FILE` and `SSL_CERT_DIR` count.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::options::{ObjectOptions, Proxies};
use crate::error::{Error, Result};

/// The client for the store: given roots only, client certificate, proxies.
pub(super) fn store_client(options: &ObjectOptions) -> Result<reqwest::Client> {
    let mut roots = RootCertStore::empty();
    if options.ca_pems.is_empty() {
        add_public(&mut roots);
    }
    add_given(&mut roots, &options.ca_pems)?;
    let certificate = options.client_cert_pem.as_deref().map(Vec::as_slice);
    build(options, config(roots, certificate, options.insecure_tls)?, Some(&options.proxies))
}

/// The client for token services: they may be public or stand beside the store, so both roots are trusted.
pub(super) fn token_client(options: &ObjectOptions) -> Result<reqwest::Client> {
    let mut roots = RootCertStore::empty();
    add_public(&mut roots);
    add_given(&mut roots, &options.ca_pems)?;
    build(options, config(roots, None, options.insecure_tls)?, Some(&options.proxies))
}

/// The client for the metadata services of this very machine: never through a proxy.
pub(super) fn metadata_client(options: &ObjectOptions) -> Result<reqwest::Client> {
    let mut roots = RootCertStore::empty();
    add_public(&mut roots);
    build(options, config(roots, None, options.insecure_tls)?, None)
}

fn build(options: &ObjectOptions, tls: ClientConfig, proxies: Option<&Proxies>) -> Result<reqwest::Client> {
    let default_agent = concat!("volmover/", env!("CARGO_PKG_VERSION"));
    let mut builder = reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(options.timeouts.connect)
        .user_agent(options.user_agent.as_deref().unwrap_or(default_agent))
        .pool_max_idle_per_host(options.connections.max(1))
        .pool_idle_timeout(Duration::from_secs(30))
        .tcp_nodelay(true)
        .http1_only()
        .no_proxy();
    for proxy in proxies.map(proxies_of).transpose()?.into_iter().flatten() {
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|error| Error::usage("cannot set up HTTP").because(error.without_url()))
}

fn proxies_of(proxies: &Proxies) -> Result<Vec<reqwest::Proxy>> {
    let except = proxies.none.as_deref().and_then(reqwest::NoProxy::from_string);
    let made =
        [proxies.http.as_ref().map(reqwest::Proxy::http), proxies.https.as_ref().map(reqwest::Proxy::https)];
    made.into_iter()
        .flatten()
        // The URL may hold a password: it is not shown.
        .map(|made| made.map_err(|_| Error::usage("invalid proxy URL").because("want http://host:port")))
        .map(|made| made.map(|proxy| proxy.no_proxy(except.clone())))
        .collect()
}

fn config(roots: RootCertStore, client_pem: Option<&[u8]>, insecure: bool) -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::usage("cannot set up TLS").because(error))?;
    let builder = if insecure {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AcceptAnything(provider)))
    } else {
        builder.with_root_certificates(roots)
    };
    let Some(pem) = client_pem else { return Ok(builder.with_no_client_auth()) };
    let invalid = |cause: String| Error::usage("invalid client certificate").because(cause);
    let chain = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|error| invalid(error.to_string()))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| invalid(error.to_string()))
}

fn add_public(roots: &mut RootCertStore) {
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
}

fn add_given(roots: &mut RootCertStore, pems: &[Vec<u8>]) -> Result<()> {
    for pem in pems {
        let before = roots.len();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let invalid = |cause: String| Error::usage("invalid CA certificate").because(cause);
            let certificate = certificate.map_err(|error| invalid(error.to_string()))?;
            roots.add(certificate).map_err(|error| invalid(error.to_string()))?;
        }
        if roots.len() == before {
            return Err(Error::usage("invalid CA certificate").because("no certificate in the PEM file"));
        }
    }
    Ok(())
}

/// Checks signatures, so that a broken connection is still seen, but no identity.
#[derive(Debug)]
struct AcceptAnything(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
