//! doctor: every step it takes, each thing that it is meant to find, and nothing left behind.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::call::{Call, MARK, Ran, Repo, source};
use super::s3::{Fault, Profile, S3Server};
use super::tls::Authority;
use crate::support::scratch;

const ACCESS: &str = "AKIAGehe1m";
const SECRET: &str = "Gehe1m/secret+key";

fn call(url: &str) -> Call {
    Call::on("doctor", url).with("AWS_ACCESS_KEY_ID", ACCESS).with("AWS_SECRET_ACCESS_KEY", SECRET)
}

fn server() -> S3Server {
    let server = S3Server::start(Profile::plain());
    server.add_key(ACCESS, SECRET, None);
    server
}

/// The outcome of every step, by name.
fn steps(ran: &Ran) -> Vec<(String, String)> {
    let parse = |line: &str| {
        let (step, _) = line.split_once(": ")?;
        let (outcome, name) = step.split_once(' ')?;
        Some((name.trim().to_owned(), outcome.to_owned()))
    };
    ran.out.lines().filter_map(parse).collect()
}

fn outcome(ran: &Ran, name: &str) -> String {
    steps(ran).into_iter().find(|(step, _)| step == name).map(|(_, outcome)| outcome).unwrap_or_default()
}

#[test]
fn a_folder_in_good_health() {
    let (repo, source) = (Repo::new(), source());
    let ran = repo.call("doctor").with("DATA_DIR", source.path()).run();
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    for name in ["configuration", "list", "put", "get", "clock", "delete", "repository", "target"] {
        assert_eq!(outcome(&ran, name), "ok", "{name}\n{}", ran.out);
    }
    assert!(!repo.path().join("volmover-doctor").exists(), "nothing stays behind");
    assert_eq!(repo.count("locks"), 0);
    ran.assert_no_secret();
    // A probe of another doctor who was killed harms nobody, and stays.
    fs::create_dir(repo.path().join("volmover-doctor")).unwrap();
    fs::write(repo.path().join("volmover-doctor").join("a".repeat(64)), "probe").unwrap();
    repo.call("backup").with("DATA_DIR", source.path()).ok();
    repo.call("doctor").with("DATA_DIR", source.path()).ok();
    assert_eq!(repo.count("volmover-doctor"), 1);
    let dry = repo.call("doctor").with("MOVER_DRY_RUN", "1").run();
    assert_eq!((dry.code, outcome(&dry, "put").as_str()), (0, "note"));
}

#[test]
fn what_is_wrong_with_a_folder_is_told() {
    let (repo, place) = (Repo::new(), scratch());
    let wrong = repo.call("doctor").with("RESTIC_PASSWORD", "Gehe1m, but wrong");
    let ran = wrong.fails(12, "Fatal: wrong password or no key found");
    assert_eq!((outcome(&ran, "repository").as_str(), outcome(&ran, "delete").as_str()), ("FAILED", "ok"));
    let missing = place.path().join("a/b");
    let ran = Call::on("doctor", &missing).run();
    assert_eq!((ran.code, outcome(&ran, "list").as_str()), (0, "note"), "{}", ran.err);
    assert!(!missing.exists() && !place.path().join("a").exists(), "a doctor makes nothing");
    Call::on("doctor", &missing).with("MOVER_ON_MISSING", "fail").fails(10, "Fatal: there is no repository");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).unwrap();
    Call::on("doctor", &missing).by_nobody().fails(23, "Fatal: the repository's folder cannot be made");
    // What rests on nothing that failed is looked at all the same.
    let closed = scratch();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let ran = repo.call("doctor").by_nobody().with("DATA_DIR", closed.path()).run();
    assert_ne!(ran.code, 0);
    assert_eq!((outcome(&ran, "list").as_str(), outcome(&ran, "target").as_str()), ("FAILED", "FAILED"));
    // JSON in place of the lines.
    let ran = repo.call("doctor").with("MOVER_JSON", "1").run();
    let report: serde_json::Value = serde_json::from_str(ran.out.trim()).unwrap();
    assert_eq!(report["passed"], true);
    assert!(report["steps"].as_array().unwrap().len() >= 9, "{report}");
}

#[test]
fn a_bucket_in_good_health() {
    let server = server();
    let url = format!("s3:{}/repository/prefix", server.endpoint());
    let ran = call(&url).run();
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    for name in ["configuration", "dns", "connect", "list", "put", "get", "clock", "delete"] {
        assert_eq!(outcome(&ran, name), "ok", "{name}\n{}", ran.out);
    }
    assert_eq!(outcome(&ran, "tls"), "note", "{}", ran.out);
    assert_eq!(outcome(&ran, "repository"), "note", "there is none yet, and none is made");
    assert!(server.contents(|contents| contents.buckets["repository"].is_empty()), "nothing stays behind");
    ran.assert_no_secret();
    let missing = format!("s3:{}/nobucket/prefix", server.endpoint());
    assert_eq!(call(&missing).run().code, 0);
    assert!(server.contents(|contents| !contents.buckets.contains_key("nobucket")));
    call(&missing).with("MOVER_ON_MISSING", "fail").fails(10, "Fatal: there is no repository");
}

#[test]
fn wrong_hosts_and_ports() {
    let ran = call("s3:http://store.invalid/bucket").fails(22, "Fatal: the store's host is not known");
    assert_eq!((outcome(&ran, "dns").as_str(), outcome(&ran, "connect").as_str()), ("FAILED", ""));
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let closed = call(&format!("s3:http://127.0.0.1:{port}/bucket"));
    let ran = closed.fails(22, &format!("Fatal: the store cannot be reached: 127.0.0.1:{port}"));
    assert_eq!((outcome(&ran, "connect").as_str(), outcome(&ran, "list").as_str()), ("FAILED", ""));
    // A proxy resolves in our place; that nobody answers there is told by the request itself.
    let proxied =
        call("s3:http://store.invalid/bucket").with("HTTP_PROXY", format!("http://127.0.0.1:{port}"));
    let ran = proxied.fails(22, "Fatal: ");
    assert_eq!((outcome(&ran, "dns").as_str(), outcome(&ran, "list").as_str()), ("note", "FAILED"));
}

#[test]
fn wrong_credentials_and_missing_rights() {
    let server = server();
    let url = format!("s3:{}/repository/prefix", server.endpoint());
    let wrong = call(&url).with("AWS_SECRET_ACCESS_KEY", format!("{MARK}-wrong"));
    let ran = wrong.fails(23, "Fatal: ");
    assert_eq!((outcome(&ran, "connect").as_str(), outcome(&ran, "list").as_str()), ("ok", "FAILED"));
    assert_eq!(outcome(&ran, "put"), "", "what rests on it is left out");
    for (method, step) in [("PUT", "put"), ("DELETE", "delete")] {
        let server = self::server();
        let url = format!("s3:{}/repository/prefix", server.endpoint());
        server.script(method, "volmover-doctor", 0, 100, Fault::Answer(403, "AccessDenied"));
        let ran = call(&url).run();
        ran.assert_failed(23, "Fatal: ");
        assert_eq!(outcome(&ran, step), "FAILED", "{}", ran.out);
    }
}

#[test]
fn certificates() {
    let (authority, folder) = (Authority::new("doctor"), scratch());
    let server = S3Server::start_tls(Profile::plain(), authority.server(&["127.0.0.1"], false));
    server.add_key(ACCESS, SECRET, None);
    let url = format!("s3:{}/repository/prefix", server.endpoint());
    let ran = call(&url).fails(22, "Fatal: ");
    assert_eq!((outcome(&ran, "connect").as_str(), outcome(&ran, "tls").as_str()), ("ok", "FAILED"));
    assert!(ran.last().contains("CUSTOM_CA"), "{}", ran.last());
    let file = folder.path().join("ca.crt");
    fs::write(&file, &authority.pem).unwrap();
    let ran = call(&url).with("CUSTOM_CA", &file).run();
    assert_eq!((ran.code, outcome(&ran, "tls").as_str()), (0, "ok"), "{}", ran.err);
}

/// A file system whose clock is wrong is what a test cannot have: here the probe is given another time.
#[test]
fn a_clock_that_is_wrong() {
    use volmover::clock::Clock;
    struct Ahead(i64);
    impl Clock for Ahead {
        fn now(&self) -> jiff::Timestamp {
            jiff::Timestamp::now() + jiff::SignedDuration::from_secs(self.0)
        }
        fn elapsed(&self) -> std::time::Duration {
            std::time::Duration::ZERO
        }
        fn sleep(&self, _: std::time::Duration) {}
    }
    use volmover::ops::doctor::{Examination, Outcome, run};
    let repo = Repo::new();
    for (seconds, expected) in
        [(0, "Good"), (300, "Note"), (-300, "Note"), (2000, "Failed"), (-2000, "Failed")]
    {
        let clock = Ahead(seconds);
        let examination = Examination {
            configuration: String::new(),
            endpoint: None,
            folder: Some(repo.path().to_owned()),
            connect: &|| Ok(super::support::mover::local(repo.path())),
            open: &|_| Ok("id".to_owned()),
            creates: true,
            dry_run: false,
            cache: None,
            target: repo.path().to_owned(),
            clock: &clock,
            random: &volmover::random::SystemRandom,
        };
        let mut found = String::new();
        let done = run(&examination, &mut |step| {
            if step.name == "clock" {
                found = match step.outcome {
                    Outcome::Good => "Good",
                    Outcome::Note => "Note",
                    Outcome::Failed(_) => "Failed",
                }
                .to_owned();
            }
        });
        assert_eq!((found.as_str(), done.is_err()), (expected, expected == "Failed"), "{seconds}");
    }
}
