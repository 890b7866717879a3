//! Every exit code of a failure: the end of the log, the termination message and the webhook each name the cause
//! and the next step, so that whoever reads only one of them knows what to do.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use volmover::error::ErrorKind;
use volmover::error::ErrorKind::{
    Condition, Damaged, Denied, Interrupted, Locked, NoSpace, Nothing, Other, Partial, RepositoryMissing,
    Terminated, Unreachable, Usage, WrongPassword,
};
use volmover::repository::lock::LockMode;

use super::call::{Call, MARK, Ran, Repo, open_folder, source};
use super::stub::{Stub, answer};
use super::support::source::random_bytes;
use super::support::{fixture, is_root, scratch, skipped};

/// So much of a log is all that an operator of `VolSync` shows.
const TAIL_BYTES: usize = 1024;

/// A failure: when it comes, its exit code, what all must say of its cause and of what to do next, and how it is
/// brought about.
type Case = (&'static str, ErrorKind, &'static str, &'static str, fn(&Place) -> Failed);

/// The table of exit codes, row by row.
const CASES: [Case; 24] = [
    ("unknown snapshot", Other, "failed to find snapshot", "snapshots", |place| {
        failed(&place.call("restore").with("MOVER_SNAPSHOT", "deadbeef"))
    }),
    ("unknown operation", Usage, "frobnicate", "Supported: init, backup", |place| {
        failed(&place.call("frobnicate"))
    }),
    ("invalid variable", Usage, "MOVER_LOCK_WAIT=soon", "Accepted: a duration", |place| {
        failed(&place.call("backup").with("MOVER_LOCK_WAIT", "soon"))
    }),
    ("missing variable", Usage, "no repository", "Set RESTIC_REPOSITORY", |_| {
        failed(&Call::new("backup").with("RESTIC_PASSWORD", "Gehe1m"))
    }),
    ("unreadable password file", Usage, "No such file", "Correct the variable", |place| {
        failed(&place.call("backup").with("RESTIC_PASSWORD_FILE", "/nonexistent/password"))
    }),
    (
        "unreadable source",
        Partial,
        "1 items of the source could not be read",
        "MOVER_PARTIAL=accept",
        |place| {
            let hidden = place.source.path().join("hidden");
            fs::write(&hidden, "x").unwrap();
            fs::set_permissions(&hidden, fs::Permissions::from_mode(0o0)).unwrap();
            let open = open_folder();
            fs::set_permissions(open.path(), fs::Permissions::from_mode(0o777)).unwrap();
            let call =
                Call::on("backup", open.path().join("repository")).with("DATA_DIR", place.source.path());
            failed(&call.by_nobody())
        },
    ),
    ("snapshot that cannot be removed", Partial, "a snapshot could not be removed", "append-only", |place| {
        place.call("backup").ok();
        let path = place.repo.path();
        assert!(Command::new("chmod").args(["-R", "a+rX"]).arg(path).status().unwrap().success());
        for (folder, mode) in [("locks", 0o777), ("snapshots", 0o555)] {
            fs::set_permissions(path.join(folder), fs::Permissions::from_mode(mode)).unwrap();
        }
        let ids = fs::read_dir(path.join("snapshots")).unwrap().map(|entry| entry.unwrap().file_name());
        let id = ids.last().unwrap();
        let outcome = failed(&place.call("forget").with("MOVER_FORGET_SNAPSHOTS", id).by_nobody());
        fs::set_permissions(path.join("snapshots"), fs::Permissions::from_mode(0o755)).unwrap();
        outcome
    }),
    ("missing repository", RepositoryMissing, "/nonexistent/repository", "create it with init", |_| {
        failed(&Call::on("prune", "/nonexistent/repository"))
    }),
    ("lock of somebody else", Locked, "already locked", "unlock", |place| {
        place.while_locked(|call| failed(&call.with("MOVER_LOCK_WAIT", "0")))
    }),
    ("wrong password", WrongPassword, "wrong password", "Check RESTIC_PASSWORD", |place| {
        failed(&place.call("backup").with("RESTIC_PASSWORD", "Gehe1m, but wrong"))
    }),
    ("target that is too small", NoSpace, "it needs ", "Give it more room", |place| place.filled("on")),
    ("target that fills up", NoSpace, "no space left on device", "Make room and run", |place| {
        place.filled("off")
    }),
    (
        "damage that check finds",
        Damaged,
        "faults were found",
        "Back up again, which stores anew what the source still has",
        |place| failed(&place.damaged("check").with("MOVER_CHECK_READ_DATA", "1")),
    ),
    ("damage that verify finds", Damaged, "its authentication tag does not match", "Run check", |place| {
        failed(&place.damaged("verify"))
    }),
    ("damage that a restore meets", Damaged, "its authentication tag does not match", "run check", |place| {
        failed(&place.damaged("restore").with("MOVER_PATH", place.source.path()))
    }),
    ("store that does not answer", Unreachable, "Connection refused", "Check the port", |place| {
        failed(&place.on_store("doctor", "http://127.0.0.1:1"))
    }),
    ("store that speaks no TLS", Unreachable, "does not speak TLS", "Check the address", |place| {
        failed(&place.on_store("backup", &format!("https://{}", plain_server())))
    }),
    ("store that denies", Denied, "the store denied access: AccessDenied", "Check credentials", |place| {
        let denying = Stub::start(|_| answer("403 Forbidden", "<Error><Code>AccessDenied</Code></Error>"));
        failed(&place.on_store("backup", &denying.url()))
    }),
    ("empty source", Nothing, "the source is empty", "Check that the right volume", |place| {
        let empty = scratch();
        failed(&place.call("backup").with("DATA_DIR", empty.path()).with("MOVER_ON_EMPTY", "fail"))
    }),
    ("nothing to restore", Nothing, "no eligible snapshot", "Check that the right volume", |place| {
        failed(&place.call("restore").with("MOVER_ON_EMPTY", "fail"))
    }),
    ("nothing to verify", Nothing, "no eligible snapshot", "Set MOVER_HOST", |place| {
        failed(&place.call("verify"))
    }),
    ("broken condition", Condition, "min-files", "Look at the last backups", |place| {
        place.call("backup").ok();
        failed(&place.call("verify").with("MOVER_VERIFY_MIN_FILES", "1000"))
    }),
    ("SIGINT", Interrupted, "interrupted", "Run it again", |place| place.signalled(Signal::INT)),
    ("SIGTERM", Terminated, "interrupted", "Run it again", |place| place.signalled(Signal::TERM)),
];

#[test]
fn every_exit_code_is_told_with_its_cause_and_the_next_step() {
    for (what, kind, cause, next, fail) in CASES {
        if kind == NoSpace && !can_mount() {
            skipped("a target that is too small: no tmpfs can be mounted here");
            continue;
        }
        let Failed { told, ran } = fail(&Place::new());
        told.assert(&ran, what, kind, cause, next);
    }
    let seen: BTreeSet<u8> = CASES.iter().map(|(_, kind, ..)| kind.exit_code()).collect();
    assert_eq!(seen, ErrorKind::ALL.map(ErrorKind::exit_code).into());
}

/// A repository and a source.
struct Place {
    repo: Repo,
    source: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { repo: Repo::new(), source: source() }
    }

    fn call(&self, operations: &str) -> Call {
        self.repo.call(operations).with("DATA_DIR", self.source.path())
    }

    /// The same on a bucket.
    fn on_store(&self, operations: &str, url: &str) -> Call {
        let call = Call::on(operations, format!("s3:{url}/bucket")).with("DATA_DIR", self.source.path());
        call.with("AWS_ACCESS_KEY_ID", "AKIAGehe1m").with("AWS_SECRET_ACCESS_KEY", "Gehe1m/secret")
    }

    /// A call on the repository with a snapshot, of which a pack is not what it was.
    fn damaged(&self, operation: &str) -> Call {
        self.call("backup").ok();
        for pack in packs(&self.repo.path().join("data")) {
            fixture::damage_file(&pack, fixture::Damage::Flipped);
        }
        self.call(operation)
    }

    /// A backup while somebody else works alone.
    fn while_locked(&self, run: impl FnOnce(Call) -> Failed) -> Failed {
        let mover = self.repo.mover();
        mover.session().locked(LockMode::Exclusive, |_| Ok(run(self.call("backup")))).unwrap()
    }

    /// A run that waits for that, and gets a signal.
    fn signalled(&self, signal: Signal) -> Failed {
        self.while_locked(|call| {
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
            Failed { told, ran }
        })
    }

    /// A restore into a volume that cannot hold it.
    fn filled(&self, space_check: &str) -> Failed {
        let small = scratch();
        assert!(mount(small.path()));
        fs::write(self.source.path().join("large"), random_bytes(1, 1 << 20)).unwrap();
        self.call("backup").ok();
        let restore = self.repo.call("restore").with("MOVER_PATH", self.source.path());
        let outcome = failed(&restore.with("DATA_DIR", small.path()).with("MOVER_SPACE_CHECK", space_check));
        unmount(small.path());
        outcome
    }
}

/// Gives a folder 64 KiB.
fn mount(folder: &Path) -> bool {
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(folder).output();
    mounted.is_ok_and(|output| output.status.success())
}

#[track_caller]
fn unmount(folder: &Path) {
    assert!(Command::new("umount").arg(folder).status().unwrap().success());
}

fn can_mount() -> bool {
    let folder = scratch();
    let can = is_root() && mount(folder.path());
    if can {
        unmount(folder.path());
    }
    can
}

/// A server that takes whatever it is sent for bad HTTP, until the test ends.
fn plain_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    address
}

/// The files of all folders in this one.
fn packs(data: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(data).unwrap().map(|folder| folder.unwrap().path());
    folders.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|pack| pack.unwrap().path()).collect()
}

/// A run that is over, and what was told of it.
struct Failed {
    told: Told,
    ran: Ran,
}

/// Runs a call.
fn failed(call: &Call) -> Failed {
    let told = Told::of(call);
    let ran = told.call.run();
    Failed { told, ran }
}

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

    /// All three say why it failed and what to do.
    #[track_caller]
    fn assert(&self, ran: &Ran, what: &str, kind: ErrorKind, cause: &str, next: &str) {
        assert_eq!(ran.code, i32::from(kind.exit_code()), "{what}: {}", ran.err);
        ran.assert_failed(ran.code, "Fatal: ");
        let tail =
            ran.err.get(ran.err.ceil_char_boundary(ran.err.len().saturating_sub(TAIL_BYTES))..).unwrap();
        for part in [cause, next] {
            assert!(tail.contains(part), "{what}: the log lacks {part:?}: {tail}");
        }
        let heard = self.heard.lock().unwrap();
        assert_eq!(heard.len(), 1, "{what} is told once");
        let message = fs::read_to_string(&self.message).unwrap();
        ran.assert_told(&message);
        for (place, json) in [("message", &message), ("webhook", &heard[0])] {
            let told: Value = serde_json::from_str(json).unwrap_or_else(|cause| panic!("{cause}: {json}"));
            assert_eq!(told["exit_code"], kind.exit_code(), "{what}: {place}");
            let part = |name: &str| told["error"][name].as_str().unwrap_or_default();
            let why = ["what", "place", "cause"].map(part).join(": ");
            assert!(why.contains(cause), "{what}: the {place} lacks {cause:?}: {why}");
            assert!(part("next").contains(next), "{what}: the {place} lacks {next:?}: {}", part("next"));
            assert!(!why.contains(part("next")), "{what}: the {place} says what to do twice: {why}");
            assert!(!json.contains(MARK), "{json}");
        }
    }
}
