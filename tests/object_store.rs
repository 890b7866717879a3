//! The object store against an S3 server in this process, plain and with R2's manners, and against servers
//! that misbehave: every way to get keys, every way to fail, and what one request costs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::unnecessary_wraps)]

#[allow(dead_code)]
mod contract;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/s3.rs"]
mod s3;
#[path = "support/stub.rs"]
mod stub;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use s3::{ACCESS_KEY, Conditions, Fault, Profile, S3Server, SECRET_KEY};
use stub::{Stub, answer};
use volmover::backend::BackendErrorKind as Kind;
use volmover::backend::object::{
    AssumeRole, ContainerCredentials, CredentialSources, ObjectBackend, ObjectOptions, Proxies, StaticKeys,
    WebIdentity,
};
use volmover::backend::retry::Retry;
use volmover::backend::{Backend, FileType};
use volmover::clock::Clock;
use volmover::error::ErrorKind;
use volmover::random::SystemRandom;
use volmover::report::record::RecordingMonitor;
use zeroize::Zeroizing;

const NAME: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn keys(access: &str, secret: &str) -> Option<StaticKeys> {
    Some(StaticKeys {
        access_key_id: Zeroizing::new(access.to_owned()),
        secret_access_key: Zeroizing::new(secret.to_owned()),
        session_token: None,
    })
}

fn options_at(endpoint: &str) -> ObjectOptions {
    let mut options = ObjectOptions {
        endpoint: Some(endpoint.to_owned()),
        bucket: "repository".to_owned(),
        prefix: "backups/app".to_owned(),
        connections: 8,
        ..ObjectOptions::default()
    };
    options.credentials.static_keys = keys(ACCESS_KEY, SECRET_KEY);
    options.timeouts.settle = Duration::from_millis(400);
    options
}

fn options(server: &S3Server) -> ObjectOptions {
    options_at(&server.endpoint())
}

fn open(options: ObjectOptions) -> ObjectBackend {
    ObjectBackend::open(options).unwrap()
}

fn data(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A clock on which retries cost nothing.
#[derive(Default)]
struct QuickClock(std::sync::Mutex<Duration>);

impl Clock for QuickClock {
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::UNIX_EPOCH
    }

    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn sleep(&self, duration: Duration) {
        *self.0.lock().unwrap() += duration;
    }
}

fn retrying(backend: ObjectBackend) -> Retry {
    let stop = Arc::new(AtomicBool::new(false));
    let monitor = Arc::new(RecordingMonitor::default());
    Retry::new(Arc::new(backend), Arc::new(QuickClock::default()), Arc::new(SystemRandom), monitor, stop)
}

/// Small thresholds, so that the contract's large file goes in parts.
fn in_parts(server: &S3Server) -> ObjectOptions {
    ObjectOptions { multipart_threshold_bytes: 8 << 20, part_bytes: 5 << 20, ..options(server) }
}

#[test]
fn plain_s3_keeps_the_contract() {
    let server = S3Server::start(Profile { page_keys: 400, ..Profile::plain() });
    contract::contract(&open(in_parts(&server)));
    assert!(server.count("PUT", "partNumber=4&uploadId=") > 0, "the large file went in parts");
    assert_eq!(server.contents(|contents| contents.open_uploads()), 0);
    contract::contract_missing(&open(ObjectOptions { bucket: "absent".to_owned(), ..options(&server) }));
}

#[test]
fn r2_keeps_the_contract() {
    let server = S3Server::start(Profile::r2());
    contract::contract(&open(ObjectOptions { prefix: String::new(), ..in_parts(&server) }));
    contract::contract_missing(&open(ObjectOptions { bucket: "absent".to_owned(), ..options(&server) }));
}

#[test]
fn bursts_of_429_are_waited_out() {
    let server = S3Server::start(Profile { bursts: 17, ..Profile::r2() });
    contract::contract(&retrying(open(in_parts(&server))));
}

#[test]
fn stores_without_conditional_writes_keep_the_contract() {
    for conditions in [Conditions::Refused, Conditions::Ignored] {
        let server = S3Server::start(Profile { conditions, ..Profile::plain() });
        contract::contract(&open(options(&server)));
    }
}

#[test]
fn an_existing_config_survives_a_store_that_ignores_conditions() {
    let server = S3Server::start(Profile { conditions: Conditions::Ignored, ..Profile::plain() });
    open(options(&server)).write(FileType::Config, "", &data("first")).unwrap();
    let error = open(options(&server)).write_new(FileType::Config, "", &data("second")).unwrap_err();
    assert_eq!(error.kind, Kind::Exists);
    assert_eq!(server.object("backups/app/config").unwrap().data, "first");
}

#[test]
fn requests_are_few_and_look_as_they_should() {
    let server = S3Server::start(Profile { wants_md5: true, ..Profile::plain() });
    let backend = open(ObjectOptions {
        storage_class: Some("STANDARD_IA".to_owned()),
        sse: Some("AES256".to_owned()),
        ..options(&server)
    });
    assert_eq!(backend.location(), format!("s3:{}/repository/backups/app", server.endpoint()));
    assert!(server.log().is_empty(), "open asks nothing");
    backend.write(FileType::Pack, NAME, &data("pack")).unwrap();
    backend.write(FileType::Index, NAME, &data("index")).unwrap();
    backend.list(FileType::Key).unwrap();
    backend.list(FileType::Pack).unwrap();
    backend.read(FileType::Index, NAME).unwrap();
    backend.read_range(FileType::Pack, NAME, 1, 2).unwrap();
    backend.stat(FileType::Pack, NAME).unwrap();
    backend.delete(FileType::Index, NAME).unwrap();
    let root = "/repository/backups/app";
    let wanted = [
        "GET /repository?location".to_owned(),
        format!("PUT {root}/data/00/{NAME}"),
        format!("PUT {root}/index/{NAME}"),
        "GET /repository?list-type=2&prefix=backups/app/keys/&delimiter=/".to_owned(),
        "GET /repository?list-type=2&prefix=backups/app/data/".to_owned(),
        format!("GET {root}/index/{NAME}"),
        format!("GET {root}/data/00/{NAME}"),
        format!("HEAD {root}/data/00/{NAME}"),
        format!("DELETE {root}/index/{NAME}"),
    ];
    assert_eq!(server.log(), wanted.map(|line| format!("{line} {ACCESS_KEY}")));
    let pack = server.object(&format!("backups/app/data/00/{NAME}")).unwrap();
    assert_eq!(pack.content_type.as_deref(), Some("application/octet-stream"));
    assert_eq!((pack.storage_class.as_deref(), pack.sse.as_deref()), (Some("STANDARD_IA"), Some("AES256")));
    backend.write(FileType::Index, NAME, &data("index")).unwrap();
    let index = server.object(&format!("backups/app/index/{NAME}")).unwrap();
    assert_eq!((index.storage_class, index.sse.as_deref()), (None, Some("AES256")));
}

#[test]
fn parts_are_equal_and_a_failed_upload_is_cleaned_up() {
    let server = S3Server::start(Profile { wants_md5: true, ..Profile::r2() });
    let backend = open(in_parts(&server));
    let large = Bytes::from(vec![7; (18 << 20) + 5]);
    backend.write(FileType::Pack, NAME, &large).unwrap();
    let stored = server.object(&format!("backups/app/data/00/{NAME}")).unwrap();
    assert_eq!((stored.parts, stored.content_type.as_deref()), (4, Some("application/octet-stream")));
    assert!(stored.data == large);
    server.script("PUT", "partNumber=3", 0, 1, Fault::Answer(403, "AccessDenied"));
    assert_eq!(backend.write(FileType::Pack, NAME, &large).unwrap_err().kind, Kind::Denied);
    assert_eq!(server.contents(|contents| contents.open_uploads()), 0);
}

#[test]
fn many_are_deleted_at_once_and_each_answers_for_itself() {
    let names: Vec<String> = (0..1_203).map(|n| format!("{n:064x}")).collect();
    for deletes_many in [true, false] {
        let server =
            S3Server::start(Profile { deletes_many, undeletable: Some("0000077"), ..Profile::plain() });
        let backend = open(options(&server));
        for name in &names[..0x79] {
            backend.write(FileType::Lock, name, &data("x")).unwrap();
        }
        let results = backend.delete_many(FileType::Lock, &names);
        assert_eq!(results.len(), names.len());
        let failed: Vec<_> = results.iter().enumerate().filter(|(_, result)| result.is_err()).collect();
        let left = backend.list(FileType::Lock).unwrap().len();
        if deletes_many {
            assert_eq!((failed.len(), failed[0].0, left), (1, 0x77, 1));
            let error = failed[0].1.as_ref().unwrap_err();
            assert_eq!(
                (error.kind, error.path.as_str()),
                (Kind::Denied, format!("locks/{}", names[0x77]).as_str())
            );
            assert_eq!((server.count("POST", "?delete"), server.count("DELETE", "")), (2, 0));
        } else {
            assert_eq!((failed.len(), left), (0, 0));
            assert_eq!(server.count("DELETE", ""), names.len());
        }
    }
}

#[test]
fn a_missing_bucket_is_named_and_made_only_then() {
    let server = S3Server::start(Profile { region: "eu-north-1", ..Profile::plain() });
    let backend = open(ObjectOptions { bucket: "absent".to_owned(), ..options(&server) });
    let error = backend.list(FileType::Key).unwrap_err();
    assert_eq!((error.kind, error.temporary), (Kind::NotFound, false));
    assert_eq!(error.to_string(), "list keys: the bucket absent does not exist");
    let wrong = backend.create().unwrap_err();
    assert!(wrong.cause.contains("InvalidLocationConstraint"), "{wrong}");
    let region = Some("eu-north-1".to_owned());
    let backend = open(ObjectOptions { bucket: "absent".to_owned(), region, ..options(&server) });
    backend.create().unwrap();
    backend.create().unwrap();
    assert_eq!(server.count("PUT", "/absent/ "), 2, "one refused, one done, none when it is there");
    assert!(backend.list(FileType::Key).unwrap().is_empty());
}

#[test]
fn the_region_is_found() {
    for (profile, wanted) in [
        (Profile { region: "eu-central-1", checks_region: false, ..Profile::plain() }, "eu-central-1"),
        (Profile { region: "garage", checks_region: true, ..Profile::plain() }, "garage"),
        (Profile::r2(), "us-east-1"),
    ] {
        let server = S3Server::start(Profile { ..profile });
        open(options(&server)).list(FileType::Key).unwrap();
        open(ObjectOptions { region: Some(wanted.to_owned()), ..options(&server) })
            .list(FileType::Key)
            .unwrap();
        assert_eq!(server.count("GET", "?location"), 1, "a region that is given is not asked for");
    }
    let server = S3Server::start(Profile { region: "garage", checks_region: true, ..Profile::plain() });
    let wrong = open(ObjectOptions { region: Some("elsewhere".to_owned()), ..options(&server) });
    assert_eq!(wrong.list(FileType::Key).unwrap_err().kind, Kind::Denied);
}

#[test]
fn answers_of_the_store_become_kinds() {
    let server = S3Server::start(Profile::plain());
    let backend = open(options(&server));
    for (status, code, kind, temporary, cause) in [
        (403, "AccessDenied", Kind::Denied, false, "the store denied access: AccessDenied: Scripted"),
        (403, "SignatureDoesNotMatch", Kind::Denied, false, "SignatureDoesNotMatch"),
        (400, "ExpiredToken", Kind::Denied, false, "ExpiredToken"),
        (503, "SlowDown", Kind::Throttled, true, "the store asks to slow down: 503 SlowDown: Scripted"),
        (429, "TooManyRequests", Kind::Throttled, true, "slow down"),
        (500, "InternalError", Kind::Unreachable, true, "the store answered 500 InternalError: Scripted"),
        (502, "", Kind::Unreachable, true, "502"),
        (507, "XMinioStorageFull", Kind::Full, false, "the store is full"),
        (404, "NoSuchKey", Kind::NotFound, false, "no such file"),
        (400, "MalformedXML", Kind::Other, false, "MalformedXML"),
    ] {
        let fault = Fault::Answer(status, code);
        server.script("PUT", "/data/", 0, 1, fault);
        server.script("GET", "/data/", 0, 1, fault);
        server.script("GET", "list-type", 0, usize::from(code != "NoSuchKey"), fault);
        let mut errors = vec![
            backend.write(FileType::Pack, NAME, &data("x")).unwrap_err(),
            backend.read_range(FileType::Pack, NAME, 0, 5).unwrap_err(),
        ];
        errors.extend(backend.list(FileType::Pack).err());
        assert_eq!(errors.len(), if code == "NoSuchKey" { 2 } else { 3 });
        for error in errors {
            assert_eq!((error.kind, error.temporary), (kind, temporary), "{status} {code}: {error}");
            assert!(error.cause.contains(cause), "{error}");
        }
    }
}

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
fn a_lost_answer_to_an_exclusive_write_is_no_loss() {
    let server = S3Server::start(Profile::plain());
    server.script("PUT", "/config", 0, 2, Fault::Lose);
    let backend = retrying(open(options(&server)));
    backend.write_new(FileType::Config, "", &data("ours")).unwrap();
    assert_eq!(backend.write_new(FileType::Config, "", &data("theirs")).unwrap_err().kind, Kind::Exists);
    assert_eq!(server.object("backups/app/config").unwrap().data, "ours");
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
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
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
fn wrong_keys_are_denied_and_never_shown() {
    let server = S3Server::start(Profile::plain());
    for (access, secret, code) in [
        (ACCESS_KEY, "wrong-secret", "SignatureDoesNotMatch"),
        ("AKIAUNKNOWN", "other-secret", "InvalidAccessKeyId"),
    ] {
        let mut wrong = options(&server);
        wrong.credentials.static_keys = keys(access, secret);
        let backend = open(wrong);
        for error in [
            backend.list(FileType::Key).unwrap_err(),
            backend.read(FileType::Config, "").unwrap_err(),
            backend.write(FileType::Key, NAME, &data("x")).unwrap_err(),
        ] {
            assert_eq!((error.kind, error.temporary), (Kind::Denied, false), "{error}");
            assert!(error.cause.starts_with(&format!("the store denied access: {code}")), "{error}");
            assert!(!error.to_string().contains(secret) && !error.to_string().contains(SECRET_KEY));
        }
    }
    let mut none = options(&server);
    none.credentials = CredentialSources::default();
    let error = open(none).list(FileType::Key).unwrap_err();
    assert_eq!(error.kind, Kind::Denied);
    assert!(error.cause.starts_with("no credentials found"), "{error}");
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

/// Keys that the server knows under the name of a source; a request signed with others is refused.
fn only(server: &S3Server, source: &str) -> (String, String, String) {
    let (access, secret, token) =
        (format!("ASIA{source}"), format!("secret of {source}"), format!("token of {source}"));
    server.add_key(&access, &secret, Some(&token));
    (access, secret, token)
}

fn sources(server: &S3Server, sources: CredentialSources) -> ObjectBackend {
    open(ObjectOptions { credentials: sources, ..options(server) })
}

fn sts_answer(action: &str, (access, secret, token): &(String, String, String)) -> String {
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>{access}</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>\
         <SessionToken>{token}</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>\
         </Credentials></{action}Result></{action}Response>"
    )
}

fn json_answer((access, secret, token): &(String, String, String), expires: &str) -> String {
    format!(
        r#"{{"Code":"Success","AccessKeyId":"{access}","SecretAccessKey":"{secret}","Token":"{token}","Expiration":"{expires}"}}"#
    )
}

fn works_with(server: &S3Server, backend: &ObjectBackend, access: &str) {
    backend.write(FileType::Key, NAME, &data("x")).unwrap();
    assert!(server.log().iter().all(|line| line.ends_with(access)), "{:?}", server.log());
}

#[test]
fn keys_of_a_web_identity() {
    let server = S3Server::start(Profile::plain());
    let given = only(&server, "WEB");
    let reply = sts_answer("AssumeRoleWithWebIdentity", &given);
    let sts = Stub::start(move |request| {
        let wanted = [
            "Action=AssumeRoleWithWebIdentity",
            "RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fr",
            "WebIdentityToken=jwt.of.pod",
        ];
        let right =
            wanted.iter().all(|part| request.body.contains(part)) && !request.head.contains("uthorization");
        if right {
            answer("200 OK", &reply)
        } else {
            answer("400 x", "<ErrorResponse><Error><Code>InvalidIdentityToken</Code></Error></ErrorResponse>")
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "jwt.of.pod\n").unwrap();
    let identity = |token_file: PathBuf| CredentialSources {
        web_identity: Some(WebIdentity {
            token_file,
            role_arn: "arn:aws:iam::1:role/r".to_owned(),
            session_name: None,
            sts_endpoint: Some(sts.url()),
        }),
        ..CredentialSources::default()
    };
    works_with(&server, &sources(&server, identity(token_file.clone())), &given.0);
    std::fs::write(&token_file, "another").unwrap();
    let error = sources(&server, identity(token_file.clone())).list(FileType::Key).unwrap_err();
    assert_eq!(error.kind, Kind::Denied);
    assert!(error.cause.contains("web identity: the store denied access: InvalidIdentityToken"), "{error}");
    let error = sources(&server, identity(folder.path().join("none"))).list(FileType::Key).unwrap_err();
    assert!(error.cause.contains("cannot read the web identity token"), "{error}");
}

#[test]
fn keys_of_an_assumed_role() {
    let server = S3Server::start(Profile::plain());
    let given = only(&server, "ROLE");
    let reply = sts_answer("AssumeRole", &given);
    let sts = Stub::start(move |request| {
        let wanted = ["Action=AssumeRole&", "ExternalId=ext", "RoleSessionName=night", "Policy=%7B%7D"];
        let signed = request.head.contains(&format!("Credential={ACCESS_KEY}/"))
            && request.head.contains("/eu-west-1/sts/aws4_request");
        let right = signed && wanted.iter().all(|part| request.body.contains(part));
        if right {
            answer("200 OK", &reply)
        } else {
            answer("403 x", "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>")
        }
    });
    let role = AssumeRole {
        role_arn: "arn:aws:iam::1:role/backup".to_owned(),
        session_name: Some("night".to_owned()),
        external_id: Some("ext".to_owned()),
        policy: Some("{}".to_owned()),
        region: Some("eu-west-1".to_owned()),
        sts_endpoint: Some(sts.url()),
    };
    let assumed = |role: AssumeRole| CredentialSources {
        static_keys: keys(ACCESS_KEY, SECRET_KEY),
        assume_role: Some(role),
        ..CredentialSources::default()
    };
    works_with(&server, &sources(&server, assumed(role.clone())), &given.0);
    let error =
        sources(&server, assumed(AssumeRole { external_id: None, ..role })).list(FileType::Key).unwrap_err();
    assert!(error.cause.contains("assume role: the store denied access: AccessDenied"), "{error}");
}

#[test]
fn keys_of_a_container_are_renewed() {
    let server = S3Server::start(Profile::plain());
    let (old, new) = (only(&server, "OLD"), only(&server, "NEW"));
    let (first, second) =
        (json_answer(&old, "2999-01-01T00:00:00Z"), json_answer(&new, "2999-01-01T00:00:00Z"));
    let asked = AtomicUsize::new(0);
    let stub = Stub::start(move |request| {
        if !request.head.to_lowercase().contains("authorization: bearer of pod") {
            return answer("401 x", "no");
        }
        answer("200 OK", if asked.fetch_add(1, Ordering::Relaxed) == 0 { &first } else { &second })
    });
    let folder = tempfile::tempdir().unwrap();
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "Bearer of pod\n").unwrap();
    let container =
        ContainerCredentials { uri: format!("{}/v1", stub.url()), token: None, token_file: Some(token_file) };
    let container = CredentialSources { container: Some(container), ..CredentialSources::default() };
    let backend = sources(&server, container.clone());
    works_with(&server, &backend, &old.0);
    server.script("PUT", "", 0, 1, Fault::Answer(400, "ExpiredToken"));
    let error = backend.write(FileType::Key, NAME, &data("x")).unwrap_err();
    assert_eq!((error.kind, error.temporary), (Kind::Denied, true), "{error}");
    backend.write(FileType::Key, NAME, &data("x")).unwrap();
    assert!(server.log().last().unwrap().ends_with(&new.0));
    let other = ContainerCredentials {
        token: Some(Zeroizing::new("x".to_owned())),
        token_file: None,
        ..container.container.unwrap()
    };
    let other = CredentialSources { container: Some(other), ..CredentialSources::default() };
    let error = sources(&server, other).list(FileType::Key).unwrap_err();
    assert!(error.cause.contains("container credentials: the service answered 401"), "{error}");
}

#[test]
fn keys_of_an_instance() {
    let server = S3Server::start(Profile::plain());
    let given = only(&server, "EC2");
    let reply = json_answer(&given, "2999-01-01T00:00:00Z");
    let stub = Stub::start(move |request| {
        let head = request.head.to_lowercase();
        let has_token = head.contains("x-aws-ec2-metadata-token: session");
        if head.starts_with("put /latest/api/token ") && head.contains("token-ttl-seconds: 21600") {
            answer("200 OK", "session")
        } else if has_token && head.starts_with("get /latest/meta-data/iam/security-credentials/ ") {
            answer("200 OK", "backup-role\n")
        } else if has_token && head.starts_with("get /latest/meta-data/iam/security-credentials/backup-role ")
        {
            answer("200 OK", &reply)
        } else {
            answer("401 x", "")
        }
    });
    let instance =
        |url: String| CredentialSources { instance_metadata: Some(url), ..CredentialSources::default() };
    works_with(&server, &sources(&server, instance(stub.url())), &given.0);
    let silent = Stub::start(|_| None);
    let mut nowhere = ObjectOptions { credentials: instance(silent.url()), ..options(&server) };
    nowhere.timeouts.metadata = Duration::from_millis(200);
    let error = open(nowhere).list(FileType::Key).unwrap_err();
    assert!(error.cause.starts_with("no credentials found"), "{error}");
}

#[test]
fn keys_of_a_file_and_of_minio_in_their_order() {
    let server = S3Server::start(Profile::plain());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("credentials");
    std::fs::write(&path, "[default]\naws_access_key_id=FILE\naws_secret_access_key=file secret\n[p]\naws_access_key_id=PROFILE\naws_secret_access_key=p\n").unwrap();
    server.add_key("FILE", "file secret", None);
    server.add_key("PROFILE", "p", None);
    server.add_key("MINIO", "minio secret", None);
    let file = CredentialSources { shared_credentials_file: Some(path), ..CredentialSources::default() };
    let profile = CredentialSources { profile: Some("p".to_owned()), ..file.clone() };
    let minio = CredentialSources { minio: keys("MINIO", "minio secret"), ..file.clone() };
    let all = CredentialSources { static_keys: keys(ACCESS_KEY, SECRET_KEY), ..minio.clone() };
    for (given, access) in [(file, "FILE"), (profile, "PROFILE"), (minio, "MINIO"), (all, ACCESS_KEY)] {
        sources(&server, given).list(FileType::Key).unwrap();
        assert!(server.log().last().unwrap().ends_with(access));
    }
}

/// A certificate authority, and a server certificate of it for this machine.
struct Authority {
    pem: Vec<u8>,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem().into_bytes();
        Self { pem, issuer: rcgen::Issuer::new(params, key) }
    }

    fn leaf(&self, names: &[&str]) -> (rcgen::Certificate, rcgen::KeyPair) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = rcgen::KeyPair::generate().unwrap();
        (rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn server(&self, names: &[&str], wants_client: bool) -> tokio_rustls::rustls::ServerConfig {
        use tokio_rustls::rustls::pki_types::{
            CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject,
        };
        use tokio_rustls::rustls::{
            RootCertStore, ServerConfig, crypto::aws_lc_rs, server::WebPkiClientVerifier,
        };
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if wants_client {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(&self.pem).unwrap()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let (leaf, key) = self.leaf(names);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        builder.with_single_cert(vec![leaf.der().clone()], key).unwrap()
    }
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

#[test]
fn many_threads_share_one_store() {
    let server = S3Server::start(Profile::plain());
    let backend = open(options(&server));
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let backend = &backend;
            scope.spawn(move || {
                for n in 0..20 {
                    let name = format!("{:064x}", thread * 100 + n);
                    backend.write(FileType::Pack, &name, &data(&name)).unwrap();
                    assert_eq!(backend.read(FileType::Pack, &name).unwrap(), name);
                }
            });
        }
    });
    assert_eq!(backend.list(FileType::Pack).unwrap().len(), 320);
    assert_eq!(server.count("GET", "?location"), 1);
}
