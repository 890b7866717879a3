//! What lies between: TLS, proxies, addresses, lines that are slow, cut or silent, servers that are no S3.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use volmover::backend::object::Proxies;
use volmover::error::ErrorKind;

use super::stub::{Stub, answer};
use super::support::children::free_port;
use super::tls::Authority;
use super::*;

#[test]
fn what_breaks_off_is_damaged_or_unreachable_never_short() {
    let server = S3Server::start(Profile { page_keys: 2, ..Profile::plain() });
    let mut limited = options(&server);
    limited.timeouts.idle = Duration::from_millis(300);
    let backend = open(limited);
    let body = Bytes::from(vec![1; 3 << 20]);
    for n in 0..5 {
        backend.write(FileType::Index, &format!("{n:064}"), &body).unwrap();
    }
    let name = format!("{:064}", 0);
    server.script("GET", "/index/0", 0, 1, Fault::Cut(1_000_000));
    let error = backend.read(FileType::Index, &name).unwrap_err();
    assert_eq!((error.kind, error.temporary), (Kind::Damaged, true), "{error}");
    assert!(error.cause.contains("of 3145728 bytes"), "{error}");
    server.script("GET", "/index/0", 0, 1, Fault::Stall(1_000_000));
    let error = backend.read(FileType::Index, &name).unwrap_err();
    assert_eq!((error.kind, error.temporary), (Kind::Unreachable, true), "{error}");
    assert!(error.cause.contains("timed out: no data for 0.3 s"), "{error}");
    server.script("GET", "continuation-token", 1, 1, Fault::Answer(500, "InternalError"));
    assert_eq!(backend.list(FileType::Index).unwrap_err().kind, Kind::Unreachable, "the last page failed");
    server.script("GET", "continuation-token", 0, 1, Fault::Cut(200));
    assert!(backend.list(FileType::Index).unwrap_err().temporary);
    assert_eq!(backend.list(FileType::Index).unwrap().len(), 5);
    assert_eq!(backend.read(FileType::Index, &name).unwrap().len(), body.len());
}

#[test]
fn no_answer_is_given_up() {
    let silent = Stub::start(|_| None);
    let mut limited = options_at(&silent.url());
    limited.region = Some("us-east-1".to_owned());
    limited.timeouts.idle = Duration::from_millis(200);
    let start = Instant::now();
    let error = open(limited).list(FileType::Key).unwrap_err();
    assert_eq!((error.kind, error.temporary), (Kind::Unreachable, true), "{error}");
    assert!(start.elapsed() < Duration::from_secs(5));

    // A server that trickles is never idle; the limit of the whole request ends it.
    let server = S3Server::start(Profile::plain());
    let line = |bytes_per_second| proxy::Line { bytes_per_second, ..proxy::Line::default() };
    let slow = proxy::Proxy::start(&server.address(), line(0));
    let mut limited = options_at(&format!("http://{}", slow.address()));
    limited.timeouts.idle = Duration::from_millis(500);
    limited.timeouts.request = Duration::from_secs(1);
    let backend = open(limited);
    backend.write(FileType::Pack, NAME, &Bytes::from(vec![1; 2 << 20])).unwrap();
    slow.set_line(line(200_000));
    let error = backend.read_range(FileType::Pack, NAME, 0, 900_000).unwrap_err();
    assert!(error.cause.contains("took too long"), "{error}");
    // A large body has more time: here two minutes more, and it moves all the while.
    slow.set_line(line(1_500_000));
    let start = Instant::now();
    assert_eq!(backend.read(FileType::Pack, NAME).unwrap().len(), 2 << 20);
    assert!(start.elapsed() > Duration::from_secs(1), "slower than the limit without a body");
}

#[test]
fn a_line_that_is_cut_is_a_passing_failure() {
    let server = S3Server::start(Profile::plain());
    let line = proxy::Proxy::start(&server.address(), proxy::Line::default());
    let backend = open(options_at(&format!("http://{}", line.address())));
    backend.write(FileType::Pack, NAME, &Bytes::from(vec![1; 1 << 20])).unwrap();
    line.set_line(proxy::Line { cut_after_bytes: 300_000, ..proxy::Line::default() });
    let error = backend.read(FileType::Pack, NAME).unwrap_err();
    assert!(error.temporary, "{error}");
    line.set_line(proxy::Line::default());
    line.cut();
    let read = retrying(backend).read(FileType::Pack, NAME).unwrap();
    assert_eq!(read.len(), 1 << 20);
}

#[test]
fn who_cannot_be_reached_is_said_in_one_line() {
    let port = free_port();
    let error = open(options_at(&format!("http://127.0.0.1:{port}"))).list(FileType::Key).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("list keys: cannot connect to 127.0.0.1:{port}: connection refused")
    );
    assert_eq!((error.kind, error.temporary), (Kind::Unreachable, true));
    let error = open(options_at("http://no-such-host.invalid")).list(FileType::Key).unwrap_err();
    assert_eq!(error.cause, "cannot resolve host no-such-host.invalid");
    assert_eq!((error.kind, error.temporary), (Kind::Unreachable, true));
}

#[test]
fn a_page_that_is_no_s3_is_never_an_empty_list() {
    for body in ["<html><body>It works!</body></html>", "", "{}"] {
        let page = Stub::start(move |_| answer("200 OK", body));
        let error = open(options_at(&page.url())).list(FileType::Snapshot).unwrap_err();
        assert_eq!(error.kind, Kind::Damaged, "{error}");
    }
    let moved = Stub::start(|_| {
        Some(b"HTTP/1.1 301 x\r\nx-amz-bucket-region: eu-west-3\r\nContent-Length: 0\r\n\r\n".to_vec())
    });
    let error =
        open(ObjectOptions { region: Some("x".to_owned()), ..options_at(&moved.url()) }).list(FileType::Key);
    assert!(error.unwrap_err().cause.contains("the bucket is in region eu-west-3"));
}

#[test]
fn an_ipv6_address_is_an_address() {
    let server = S3Server::start(Profile { host: "::1", ..Profile::plain() });
    assert!(server.endpoint().starts_with("http://[::1]:"));
    let backend = open(options(&server));
    backend.write(FileType::Key, NAME, &data("six")).unwrap();
    assert_eq!(backend.read(FileType::Key, NAME).unwrap(), "six");
}

#[test]
fn a_proxy_is_used_unless_excepted() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let list = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>";
    let stub = Stub::start(move |request| {
        assert!(
            request.head.starts_with("GET http://s3.example.invalid/repository?list-type=2"),
            "{}",
            request.head
        );
        assert!(request.head.to_lowercase().contains("user-agent: tester/1"));
        count.fetch_add(1, Ordering::Relaxed);
        answer("200 OK", list)
    });
    let through = |none: Option<&str>| ObjectOptions {
        region: Some("us-east-1".to_owned()),
        proxies: Proxies { http: Some(stub.url()), https: None, none: none.map(str::to_owned) },
        user_agent: Some("tester/1".to_owned()),
        ..options_at("http://s3.example.invalid")
    };
    open(through(None)).list(FileType::Key).unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let error = open(through(Some(".example.invalid"))).list(FileType::Key).unwrap_err();
    assert!(error.cause.contains("cannot resolve"), "{error}");
    let secret = Proxies { http: Some("http://user:hidden@ bad".to_owned()), ..Proxies::default() };
    let error = ObjectBackend::open(ObjectOptions { proxies: secret, ..through(None) }).err().unwrap();
    assert!(error.kind == ErrorKind::Usage && !error.to_string().contains("hidden"), "{error}");
}

#[test]
fn a_private_authority_is_trusted_when_named() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let server = S3Server::start_tls(Profile::plain(), ours.server(&["127.0.0.1"], false));
    let trusting = |pems: Vec<Vec<u8>>| open(ObjectOptions { ca_pems: pems, ..options(&server) });
    let backend = trusting(vec![other.pem.clone(), ours.pem.clone()]);
    backend.write(FileType::Key, NAME, &data("secure")).unwrap();
    assert_eq!(backend.read(FileType::Key, NAME).unwrap(), "secure");
    for pems in [vec![other.pem.clone()], Vec::new()] {
        let error = trusting(pems).list(FileType::Key).unwrap_err();
        assert_eq!((error.kind, error.temporary), (Kind::Unreachable, false), "{error}");
        assert_eq!(error.cause, "the server's certificate is not trusted: unknown issuer");
    }
    open(ObjectOptions { insecure_tls: true, ..options(&server) }).list(FileType::Key).unwrap();

    let elsewhere = S3Server::start_tls(Profile::plain(), ours.server(&["elsewhere.example"], false));
    let error =
        open(ObjectOptions { ca_pems: vec![ours.pem.clone()], ..options(&elsewhere) }).list(FileType::Key);
    assert!(error.unwrap_err().cause.contains("not trusted: it is not for 127.0.0.1:"));
    for (ca_pems, client) in
        [(vec![b"no pem".to_vec()], None), (Vec::new(), Some(Zeroizing::new(b"no".to_vec())))]
    {
        let broken = ObjectOptions { ca_pems, client_cert_pem: client, ..options(&server) };
        assert_eq!(ObjectBackend::open(broken).err().unwrap().kind, ErrorKind::Usage);
    }
}

#[test]
fn a_client_certificate_is_shown() {
    let authority = Authority::new("ours");
    let server = S3Server::start_tls(Profile::plain(), authority.server(&["127.0.0.1"], true));
    let base = ObjectOptions { ca_pems: vec![authority.pem.clone()], ..options(&server) };
    let (leaf, key) = authority.leaf(&["client"]);
    let pem = Zeroizing::new([leaf.pem().into_bytes(), key.serialize_pem().into_bytes()].concat());
    open(ObjectOptions { client_cert_pem: Some(pem), ..base.clone() }).list(FileType::Key).unwrap();
    let error = open(base).list(FileType::Key).unwrap_err();
    assert_eq!(error.kind, Kind::Unreachable, "{error}");
}

#[test]
fn plain_http_behind_https_is_said() {
    let server = S3Server::start(Profile::plain());
    let endpoint = server.endpoint().replace("http://", "https://");
    let error = open(options_at(&endpoint)).list(FileType::Key).unwrap_err();
    assert!(error.cause.contains("does not speak TLS") && !error.temporary, "{error}");
}
