//! The object store against an S3 server in this process, plain and with R2's manners, and against servers
//! that misbehave: every way to get keys, every way to fail, and what one request costs.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout, clippy::unnecessary_wraps)]

#[allow(dead_code)]
#[path = "../contract/mod.rs"]
mod contract;
mod credentials;
mod hedges;
mod network;
mod peers;
#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/s3.rs"]
mod s3;
#[path = "../support/stub.rs"]
mod stub;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tls.rs"]
mod tls;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use s3::{ACCESS_KEY, Conditions, Fault, Profile, S3Server, SECRET_KEY};
use volmover::backend::BackendErrorKind as Kind;
use volmover::backend::object::{ObjectBackend, ObjectOptions, StaticKeys};
use volmover::backend::retry::Retry;
use volmover::backend::{Backend, FileType};
use volmover::clock::Clock;
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
fn a_store_that_honours_conditions_is_asked_once_and_not_waited_for() {
    let server = S3Server::start(Profile::plain());
    let mut slow = options(&server);
    slow.timeouts.settle = Duration::from_secs(2);
    let backend = open(slow);
    let start = std::time::Instant::now();
    backend.write_new(FileType::Config, "", &data("first")).unwrap();
    assert_eq!(server.count("PUT", "/config"), 2, "the write, and the proof that a second is refused");
    backend.write_new(FileType::Key, NAME, &data("key")).unwrap();
    assert_eq!(server.count("PUT", "/keys/"), 1);
    assert!(start.elapsed() < Duration::from_secs(2));
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
fn a_file_that_is_too_short_is_damaged_for_good() {
    let server = S3Server::start(Profile::plain());
    let backend = open(options(&server));
    backend.write(FileType::Pack, NAME, &data("ten bytes.")).unwrap();
    for offset in [5, 9, 10, 11] {
        let error = backend.read_range(FileType::Pack, NAME, offset, 6).unwrap_err();
        assert_eq!((error.kind, error.temporary), (Kind::Damaged, false), "{offset}: {error}");
        assert_eq!(error.cause, format!("the store does not have 6 bytes from offset {offset} on"));
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
        assert_eq!(server.count("GET", "?location"), 0, "who refuses a region names the right one");
    }
    let server = S3Server::start(Profile { region: "eu-central-1", ..Profile::plain() });
    server.script("GET", "list-type", 0, 1, Fault::Answer(403, "SignatureDoesNotMatch"));
    let backend = open(options(&server));
    for _ in 0..2 {
        backend.list(FileType::Key).unwrap();
    }
    assert_eq!(server.count("GET", "?location"), 1, "a store that names none is asked, once");
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
fn a_lost_answer_to_an_exclusive_write_is_no_loss() {
    let server = S3Server::start(Profile::plain());
    server.script("PUT", "/config", 0, 2, Fault::Lose);
    let backend = retrying(open(options(&server)));
    backend.write_new(FileType::Config, "", &data("ours")).unwrap();
    assert_eq!(backend.write_new(FileType::Config, "", &data("theirs")).unwrap_err().kind, Kind::Exists);
    assert_eq!(server.object("backups/app/config").unwrap().data, "ours");
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
    assert_eq!(server.count("GET", "?location"), 0);
}
