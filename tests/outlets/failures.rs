//! Every exit code of a failure: the end of the log, the termination message and the webhook each name the cause
//! and the next step, so that whoever reads only one of them knows what to do.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use volmover::error::ErrorKind;
use volmover::repository::lock::LockMode;

use super::call::{Call, MARK, Ran, Repo, open_folder, source};
use super::stub::{Stub, answer};
use super::support::{fixture, is_root, skipped};

/// So much of a log is all that an operator of `VolSync` shows.
const TAIL_BYTES: usize = 1024;

/// A webhook, a termination message, and a call that tells both.
struct Told {
    call: Call,
    message: PathBuf,
    heard: Arc<Mutex<Vec<String>>>,
    _folder: TempDir,
    _stub: Stub,
}

impl Told {
    fn of(call: &Call) -> Self {
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let ears = Arc::clone(&heard);
        let stub = Stub::start(move |received| {
            ears.lock().unwrap().push(received.body.clone());
            answer("200 OK", "")
        });
        let folder = open_folder();
        let message = folder.path().join("message");
        fs::write(&message, "").unwrap();
        fs::set_permissions(&message, fs::Permissions::from_mode(0o666)).unwrap();
        let call = call.clone().with("MOVER_NOTIFY_URL", stub.url()).with("MOVER_TERMINATION_LOG", &message);
        Self { call, message, heard, _folder: folder, _stub: stub }
    }

    /// All three say what failed, why and what to do.
    #[track_caller]
    fn assert(&self, ran: &Ran, kind: ErrorKind, cause: &str, next: &str) {
        ran.assert_failed(kind.exit_code().into(), "Fatal: ");
        let tail =
            ran.err.get(ran.err.ceil_char_boundary(ran.err.len().saturating_sub(TAIL_BYTES))..).unwrap();
        let heard = self.heard.lock().unwrap();
        assert_eq!(heard.len(), 1, "{kind:?} is told once");
        let message = fs::read_to_string(&self.message).unwrap();
        ran.assert_told(&message);
        for (place, text) in
            [("log", tail), ("message", &error_of(&message)), ("webhook", &error_of(&heard[0]))]
        {
            for part in [cause, next] {
                assert!(text.contains(part), "{kind:?}: the {place} lacks {part:?}: {text}");
            }
            assert!(!text.contains(MARK), "{text}");
        }
    }

    /// The same of a run that ends by itself.
    #[track_caller]
    fn fails(call: &Call, kind: ErrorKind, cause: &str, next: &str) -> ErrorKind {
        let told = Self::of(call);
        told.assert(&told.call.run(), kind, cause, next);
        kind
    }
}

/// The parts of the error of a summary, each on a line.
fn error_of(json: &str) -> String {
    let told: Value = serde_json::from_str(json).unwrap_or_else(|cause| panic!("{cause}: {json}"));
    let parts =
        ["what", "place", "cause", "next"].map(|part| told["error"][part].as_str().unwrap_or_default());
    parts.join("\n")
}

#[test]
fn of_configuration_repository_and_password() {
    let (repo, source) = (Repo::new(), source());
    let call = |operations: &str| repo.call(operations).with("DATA_DIR", source.path());
    call("backup").ok();
    let missing = Call::on("prune", "/nonexistent/repository");
    let none = call("restore").with("MOVER_SNAPSHOT", "deadbeef");
    Told::fails(&none, ErrorKind::Other, "failed to find snapshot", "snapshots");
    let soon = call("backup").with("MOVER_LOCK_WAIT", "soon");
    Told::fails(&soon, ErrorKind::Usage, "MOVER_LOCK_WAIT=soon", "Accepted: a duration");
    Told::fails(&call("frobnicate"), ErrorKind::Usage, "frobnicate", "Supported: init, backup");
    Told::fails(&missing, ErrorKind::RepositoryMissing, "/nonexistent/repository", "create it with init");
    let wrong = call("backup").with("RESTIC_PASSWORD", "Gehe1m, but wrong");
    Told::fails(&wrong, ErrorKind::WrongPassword, "wrong password", "Check RESTIC_PASSWORD");
    let empty = TempDir::new().unwrap();
    let nothing = call("backup").with("DATA_DIR", empty.path()).with("MOVER_ON_EMPTY", "fail");
    Told::fails(&nothing, ErrorKind::Nothing, "the source is empty", "Check that the right volume");
    let few = call("verify").with("MOVER_VERIFY_MIN_FILES", "1000");
    Told::fails(&few, ErrorKind::Condition, "min-files", "Look at the last backups");
    let pack = fs::read_dir(repo.path().join("data")).unwrap().find_map(|folder| {
        fs::read_dir(folder.unwrap().path()).unwrap().next().map(|pack| pack.unwrap().path())
    });
    fixture::damage_file(&pack.unwrap(), fixture::Damage::Flipped);
    let check = call("check").with("MOVER_CHECK_READ_DATA", "1");
    Told::fails(&check, ErrorKind::Damaged, "fault", "The lines above say where");
}

#[test]
fn of_stores_that_are_away_or_deny() {
    let on = |operation: &str, url: &str| {
        let call = Call::on(operation, format!("s3:{url}/bucket"));
        call.with("AWS_ACCESS_KEY_ID", "AKIAGehe1m").with("AWS_SECRET_ACCESS_KEY", "Gehe1m/secret")
    };
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = on("doctor", &format!("http://{closed}"));
    Told::fails(&away, ErrorKind::Unreachable, &closed.to_string(), "network");
    let denying = Stub::start(|_| answer("403 Forbidden", "<Error><Code>AccessDenied</Code></Error>"));
    let source = source();
    let denied = on("backup", &denying.url()).with("DATA_DIR", source.path());
    Told::fails(&denied, ErrorKind::Denied, "the store denied access: AccessDenied", "Check credentials");
}

#[test]
fn of_sources_that_cannot_be_read() {
    let (source, place) = (source(), open_folder());
    let hidden = source.path().join("hidden");
    fs::write(&hidden, "x").unwrap();
    fs::set_permissions(&hidden, fs::Permissions::from_mode(0o0)).unwrap();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let call =
        Call::on("backup", place.path().join("repository")).with("DATA_DIR", source.path()).by_nobody();
    Told::fails(&call, ErrorKind::Partial, "1 items of the source could not be read", "MOVER_PARTIAL=accept");
}

#[test]
fn of_targets_that_are_too_small() {
    let (repo, source, small) = (Repo::new(), source(), TempDir::new().unwrap());
    let mount =
        || Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(small.path()).output();
    if !is_root() || !mount().is_ok_and(|output| output.status.success()) {
        return skipped("a target that is too small: no tmpfs can be mounted here");
    }
    fs::write(source.path().join("large"), vec![7; 1 << 20]).unwrap();
    repo.call("backup").with("DATA_DIR", source.path()).ok();
    let restore = repo.call("restore").with("MOVER_PATH", source.path()).with("DATA_DIR", small.path());
    let told = Told::of(&restore);
    let ran = told.call.run();
    let unmounted = Command::new("umount").arg(small.path()).status();
    told.assert(&ran, ErrorKind::NoSpace, "it needs ", "");
    assert!(unmounted.is_ok_and(|status| status.success()));
}

#[test]
fn of_locks_and_signals() {
    let (repo, source) = (Repo::new(), source());
    let call = repo.call("backup").with("DATA_DIR", source.path());
    let mover = repo.mover();
    let held = mover.session().locked(LockMode::Exclusive, |_| {
        let pid = format!("PID {} on ", std::process::id());
        Told::fails(&call.clone().with("MOVER_LOCK_WAIT", "0"), ErrorKind::Locked, &pid, "unlock");
        for (signal, kind) in [(Signal::INT, ErrorKind::Interrupted), (Signal::TERM, ErrorKind::Terminated)] {
            let told = Told::of(&call);
            let mut running = told.call.start();
            let mut err = running.stderr.take().unwrap();
            // Its first word is that it waits.
            let mut text = vec![0];
            err.read_exact(&mut text).unwrap();
            running.signal(signal);
            err.read_to_end(&mut text).unwrap();
            let code = running.wait().unwrap().code().unwrap();
            let ran = Ran { code, out: String::new(), err: String::from_utf8(text).unwrap() };
            told.assert(&ran, kind, "interrupted", "Run it again");
        }
        Ok(())
    });
    held.unwrap();
}
