//! Repositories that are not there or cannot be reached, and S3 stores that refuse.

use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::call::{Call, MARK, PASSWORD, Ran, Repo, source};
use super::s3::{Profile, S3Server};
use super::support::children::free_port;
use super::support::{scaled, scratch, skipped};
use super::tls::Authority;

const ACCESS: &str = "AKIAGehe1m";
const SECRET: &str = "Gehe1m/secret+key";

/// A call on an S3 store with a key that `server()` knows.
fn call(operations: &str, url: &str) -> Call {
    Call::on(operations, url).with("AWS_ACCESS_KEY_ID", ACCESS).with("AWS_SECRET_ACCESS_KEY", SECRET)
}

fn server() -> S3Server {
    let server = S3Server::start(Profile::plain());
    server.add_key(ACCESS, SECRET, None);
    server
}

#[test]
fn a_missing_repository_is_10() {
    let (source, place) = (source(), scratch());
    let path = place.path().join("repository");
    let line = format!(
        "Fatal: repository does not exist: {}: unable to open config file. Check RESTIC_REPOSITORY, or create \
         it with init",
        path.display()
    );
    let call = |operation: &str| Call::on(operation, &path).with("DATA_DIR", source.path());
    call("snapshots").fails(10, &line);
    call("restore").fails(10, &line);
    call("backup").with("MOVER_ON_MISSING", "fail").fails(10, &line);
    call("backup").with("MOVER_REPOSITORY_ID", "0123456789").fails(10, &line);
    assert!(!path.exists());

    let server = server();
    let url = format!("s3:{}/repository/prefix", server.endpoint());
    self::call("snapshots", &url).fails(10, &format!("Fatal: repository does not exist: {url}"));
}

#[test]
fn a_wrong_password_is_12() {
    let repo = Repo::new();
    let line =
        format!("Fatal: wrong password or no key found: {}. Check RESTIC_PASSWORD", repo.path().display());
    for operation in ["snapshots", "restore"] {
        repo.call(operation).with("RESTIC_PASSWORD", "Gehe1m, but wrong").fails(12, &line);
    }
    let other = repo.call("snapshots").with("MOVER_REPOSITORY_ID", "00000000");
    other.fails(1, &format!("Fatal: this is another repository: {}: its id is ", repo.path().display()));
    repo.call("init")
        .fails(1, &format!("Fatal: create repository failed: {}: config", repo.path().display()));
}

#[test]
fn a_store_that_denies_is_23() {
    let (server, source) = (server(), source());
    let url = format!("s3:{}/repository/prefix", server.endpoint());
    for operation in ["snapshots", "backup", "restore"] {
        let denied = call(operation, &url).with("DATA_DIR", source.path());
        let line = |code: &str| {
            format!(
                "Fatal: failed to read in the repository: {url}/config: the store denied access: {code}. \
                 Check credentials, permissions and policy of the store"
            )
        };
        let wrong_secret = denied.clone().with("AWS_SECRET_ACCESS_KEY", "Gehe1m, but wrong");
        wrong_secret.fails(23, &line("SignatureDoesNotMatch"));
        denied.with("AWS_ACCESS_KEY_ID", "AKIAUNKNOWN").fails(23, &line("InvalidAccessKeyId"));
    }
    assert_eq!(server.contents(|contents| contents.buckets["repository"].len()), 0);
}

#[test]
fn a_missing_bucket_is_10_or_made() {
    let (server, source) = (server(), source());
    let url = format!("s3:{}/elsewhere/prefix", server.endpoint());
    let line = format!("Fatal: repository does not exist: {url}: ");
    let call = |operation: &str| call(operation, &url).with("DATA_DIR", source.path());
    let start = Instant::now();
    call("snapshots").fails(10, &line);
    call("restore").fails(10, &line);
    call("backup").with("MOVER_ON_MISSING", "fail").fails(10, &line);
    assert!(start.elapsed() < Duration::from_secs(10), "a missing bucket is waited for");
    assert!(!server.contents(|contents| contents.buckets.contains_key("elsewhere")));
    // Nor does a run that goes well print a secret, whatever it logs.
    let made = call("backup restore").with("MOVER_LOG", "trace").ok();
    assert!(made.contains("created restic repository ") && made.contains(" saved"), "{made}");
}

#[test]
fn a_wrong_certificate_is_told_at_once() {
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    let folder = scratch();
    let file = |name: &str, authority: &Authority| {
        let path = folder.path().join(name);
        std::fs::write(&path, &authority.pem).unwrap();
        path
    };
    let server = S3Server::start_tls(Profile::plain(), ours.server(&["127.0.0.1"], false));
    server.add_key(ACCESS, SECRET, None);
    let url = format!("s3:{}/repository", server.endpoint());
    let start = Instant::now();
    for call in
        [call("snapshots", &url), call("snapshots", &url).with("RESTIC_CACERT", file("other", &other))]
    {
        let line = format!(
            "Fatal: failed to read in the repository: {url}/config: the server's certificate is not trusted: \
             unknown issuer. Check the address, and which authorities RESTIC_CACERT or CUSTOM_CA names"
        );
        call.fails(22, &line);
    }
    assert!(start.elapsed() < Duration::from_secs(10), "a certificate is waited for");
    for variable in ["RESTIC_CACERT", "CUSTOM_CA"] {
        call("snapshots", &url)
            .with(variable, file("ours", &ours))
            .fails(10, "Fatal: repository does not exist: ");
        call("snapshots", &url).with(variable, "/nonexistent").fails(2, "Fatal: ");
    }
}

#[test]
fn secrets_stay_out_of_the_log_wherever_they_come_from() {
    let (server, folder) = (server(), scratch());
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let credentials = format!("[p]\naws_access_key_id={ACCESS}\naws_secret_access_key={SECRET}\n");
    let proxy = server.endpoint().replace("://", "://user:Gehe1m@");
    let call = Call::new("init")
        .with("MOVER_LOG", "trace")
        .with("RESTIC_REPOSITORY_FILE", file("url", &format!("s3:{}/repository/files", server.endpoint())))
        .with("RESTIC_PASSWORD_FILE", file("password", PASSWORD))
        .with("AWS_SHARED_CREDENTIALS_FILE", file("credentials", &credentials))
        .with("AWS_PROFILE", "p");
    call.ok();
    assert!(server.count("PUT", "/repository/files/config") > 0);
    let through = call.with("HTTP_PROXY", proxy).with("NO_PROXY", "elsewhere");
    through.run().assert_no_secret();
    call_with_token(&server).fails(23, "Fatal: ");
}

/// A call whose temporary key has expired.
fn call_with_token(server: &S3Server) -> Call {
    server.add_key("AKIATEMPGehe1m", SECRET, Some("the right token"));
    let url = format!("s3:{}/repository", server.endpoint());
    let call = call("snapshots", &url).with("AWS_ACCESS_KEY_ID", "AKIATEMPGehe1m");
    call.with("AWS_SESSION_TOKEN", "Gehe1m, but expired")
}

/// A name that does not resolve, and a port at which nobody listens.
fn unreachable() -> [(Call, &'static str); 2] {
    let closed = free_port();
    [
        (call("snapshots", "s3:http://nowhere.invalid/bucket"), "cannot resolve"),
        (call("snapshots", &format!("s3:http://127.0.0.1:{closed}/bucket")), "refused"),
    ]
}

#[test]
fn who_waits_for_a_store_says_so_and_can_be_ended() {
    for (call, cause) in unreachable() {
        let mut running = call.start();
        let mut err = BufReader::new(running.stderr.take().unwrap());
        let mut first = String::new();
        err.read_line(&mut first).unwrap();
        assert!(
            first.starts_with("Warning: ") && first.contains(cause) && first.contains("; retry 1 in "),
            "{first}"
        );
        running.signal(Signal::TERM);
        let start = Instant::now();
        let mut rest = String::new();
        err.read_to_string(&mut rest).unwrap();
        let code = running.wait().unwrap().code().unwrap();
        assert!(start.elapsed() < Duration::from_secs(3), "{rest}");
        Ran { code, out: String::new(), err: first + &rest }.assert_failed(143, "Fatal: ");
    }
}

#[test]
fn an_unreachable_store_is_given_up_after_a_minute() {
    if scaled(1) < 10 {
        skipped("the minute of patience with unreachable stores takes a minute: VOLMOVER_TEST_SCALE=10");
        return;
    }
    let waiting = unreachable().map(|(call, cause)| {
        std::thread::spawn(move || {
            let start = Instant::now();
            let ran = call.run();
            ran.assert_failed(22, "Fatal: ");
            assert!(ran.last().contains(cause) && ran.last().contains("gave up after"), "{}", ran.last());
            let seconds = start.elapsed().as_secs();
            assert!((50..90).contains(&seconds), "{seconds} s");
        })
    });
    for thread in waiting {
        thread.join().unwrap();
    }
    assert!(SECRET.contains(MARK));
}

#[test]
fn a_proxy_that_fails_is_named_and_the_store_behind_it_is_not_blamed() {
    let closed = free_port();
    for (proxy, cause) in [
        (
            format!("http://u:Gehe1m@127.0.0.1:{closed}"),
            format!("through the proxy 127.0.0.1:{closed}: connection refused"),
        ),
        ("http://proxy.invalid:3128".to_owned(), "cannot resolve the proxy proxy.invalid".to_owned()),
    ] {
        for url in ["s3:http://store.example/bucket", "s3:https://store.example/bucket"] {
            let call = call("snapshots", url).with("HTTP_PROXY", &proxy).with("HTTPS_PROXY", &proxy);
            let mut running = call.start();
            let mut first = String::new();
            BufReader::new(running.stderr.take().unwrap()).read_line(&mut first).unwrap();
            assert!(first.contains(&cause) && first.contains(&url[3..]), "{first}");
            assert!(!first.contains("Gehe1m"), "{first}");
        }
    }
}

#[test]
fn a_repository_path_that_is_a_file_is_told() {
    let folder = scratch();
    let file = folder.path().join("file");
    std::fs::write(&file, "untouched").unwrap();
    for operation in ["init", "snapshots", "backup", "unlock"] {
        let call = Call::on(operation, &file).with("DATA_DIR", "/proc/self");
        let place = format!("repository: {}/config: ", file.display());
        let ran = call.fails(1, "Fatal: failed to ");
        let said = ran.last();
        assert!(said.contains(&place) && said.contains("a part of this path is a file"), "{said}");
        assert!(said.ends_with("Check RESTIC_REPOSITORY, and the store's own log"), "{said}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "untouched");
}
