//! No secret in anything that is seen: the log at every level, failures of each kind, the command line, the
//! termination message, the report file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use volmover::clock::SystemClock;
use volmover::config::operation::{OPERATIONS, Operation};
use volmover::repository::Repository;
use volmover::repository::lock::LockMode;
use volmover::repository::open::Access;

use crate::cache::Full;
use crate::job::{Job, Mounted, Security, Store, open_folder, volume_of};
use crate::minio::{self, Minio};
use crate::quirks::overwrite;
use crate::scenarios::{volume, volumes_can_be_given};
use crate::support::children::wait_until;
use crate::support::is_root;
use crate::support::mover::{self as library, access, local};
use crate::way::{Mover, Ran};

/// The mark of all secrets here.
const MARK: &str = "Gehe1m";

fn hushed(job: Job) -> Job {
    let secrets = [
        "RESTIC_PASSWORD",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "RESTIC_REST_PASSWORD",
        "OS_PASSWORD",
        "B2_ACCOUNT_KEY",
        "AZURE_ACCOUNT_KEY",
        "RCLONE_CONFIG_X_PASS",
    ];
    let job = secrets.iter().fold(job, |job, name| job.with(name, &format!("{MARK}-{name}")));
    job.with("HTTPS_PROXY", &format!("http://user:{MARK}@127.0.0.1:9")).with("NO_PROXY", "localhost")
}

#[track_caller]
fn assert_hushed(ran: &Ran, code: i32) {
    assert_eq!(ran.code, code, "{}", ran.log);
    let told: Vec<&str> = ran.log.lines().filter(|line| line.contains(MARK)).collect();
    assert!(told.is_empty(), "{told:?}");
    if code != 0 {
        assert!(ran.log.lines().last().unwrap().starts_with("Fatal: "), "{}", ran.log);
    }
}

/// Runs it as it is, as VolSync's debug mover, and with all that the log has.
#[track_caller]
fn says_nothing(job: &Job, code: i32) {
    for (name, value) in [("MOVER_LOG", ""), ("DEBUG_MOVER", "1"), ("MOVER_LOG", "trace")] {
        tells_nothing(job.clone().with(name, value), code);
    }
}

/// Runs it as it is, and reads the termination message and the report file as well.
#[track_caller]
fn tells_nothing(job: Job, code: i32) -> Ran {
    let told = open_folder();
    let ran = telling(job, told.path()).run();
    assert_hushed(&ran, code);
    assert_told(told.path(), &ran);
    ran
}

/// With a folder for the termination message and the report file.
fn telling(job: Job, folder: &Path) -> Job {
    let job = job.mount(folder, "/told").with("MOVER_TERMINATION_LOG", "/told/message");
    job.with("MOVER_REPORT_FILE", "/told/report")
}

/// Both say how it ended, and no secret.
#[track_caller]
fn assert_told(folder: &Path, ran: &Ran) {
    for name in ["message", "report"] {
        let text = fs::read_to_string(folder.join(name)).unwrap();
        assert!(!text.contains(MARK), "{name}: {text}");
        assert!(name == "report" || text.len() <= 4096, "{} bytes: {text}", text.len());
        let told: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(told["exit_code"], ran.code, "{name}: {text}");
        let line = told["error"]["line"].as_str().unwrap_or_default();
        assert!(ran.code == 0 || ran.log.lines().last() == Some(line), "{name}: {text}\n{}", ran.log);
    }
}

#[test]
fn failures_of_each_kind_tell_no_secret() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::empty(), volume(Security::Default.user()));
    let backup = hushed(Job::source("backup", volume.path()).on(&place)).without("FORGET_OPTIONS");
    says_nothing(&backup, 0);
    let target = volume_of(Security::Default.user());
    let restore = hushed(Job::destination(target.path()).on(&place));
    says_nothing(&restore, 0);
    says_nothing(&restore.clone().with("RESTIC_PASSWORD", &format!("{MARK}-wrong")), 12);
    says_nothing(&restore.clone().with("RESTORE_AS_OF", "never"), 2);
    says_nothing(
        &restore.clone().with("RESTIC_REPOSITORY", &format!("rest:http://u:{MARK}@localhost:9/")),
        2,
    );
    says_nothing(
        &restore.clone().with("RESTIC_REPOSITORY", "/mnt/repository/no").with("MOVER_ON_MISSING", "fail"),
        10,
    );
    overwrite(&place.path().join("config"), b"damaged");
    says_nothing(&restore, 21);
}

#[test]
fn a_store_that_denies_tells_no_secret() {
    if !volumes_can_be_given() {
        return;
    }
    let Some(minio) = Minio::start(false) else { return };
    let place = minio.place("bucket/app");
    let target = volume_of(Security::Default.user());
    says_nothing(&hushed(Job::destination(target.path()).on(&place)), 23);
    let doctor = hushed(operations("doctor", target.path()).on(&place)).with("DEBUG_MOVER", "1").run();
    assert!(doctor.code != 0 && !doctor.log.contains(MARK), "{}", doctor.log);
}

#[test]
fn a_store_that_is_not_trusted_tells_no_secret() {
    if !volumes_can_be_given() {
        return;
    }
    let Some(minio) = Minio::start(true) else { return };
    let target = volume_of(Security::Default.user());
    let job = Job::destination(target.path()).on(&minio.place("bucket/app")).without("CUSTOM_CA");
    says_nothing(&hushed(job), 22);
}

/// With all that a debug mover says, as text and as JSON lines.
fn debugged(job: Job, json: &str) -> Job {
    hushed(job).with("DEBUG_MOVER", "1").with("MOVER_LOG", "trace").with("MOVER_JSON", json)
}

/// Every operation, one after the other.
fn all_operations(data: &Path, place: &dyn Store, json: &str) -> Job {
    let all = OPERATIONS.map(Operation::name).join(" ");
    debugged(Job::source(&all, data), json).on(place)
}

#[test]
fn every_operation_tells_no_secret() {
    if !volumes_can_be_given() {
        return;
    }
    for json in ["0", "1"] {
        let (place, volume) = (Mounted::empty(), volume(Security::Default.user()));
        let job = all_operations(volume.path(), &place, json);
        tells_nothing(job.clone(), 0);
        for operation in OPERATIONS {
            let mut job = job.clone().with("RESTIC_PASSWORD", &format!("{MARK}-wrong"));
            job.operations = vec![operation.name().to_owned()];
            // What exists is not made again, whatever the password.
            tells_nothing(job, if operation == Operation::Init { 1 } else { 12 });
        }
    }
}

#[test]
fn every_operation_on_a_store_tells_no_secret() {
    if !volumes_can_be_given() {
        return;
    }
    let Some(minio) = Minio::start(false) else { return };
    let volume = volume(Security::Default.user());
    let job = all_operations(volume.path(), &minio.place("bucket/app"), "0");
    let ran = tells_nothing(job.without("AWS_SESSION_TOKEN"), 0);
    assert!(!ran.log.contains(minio::SECRET), "{}", ran.log);
    assert!(ran.log.contains("TRACE") || ran.log.contains("DEBUG"), "nothing was debugged: {}", ran.log);
}

#[test]
fn the_other_failures_tell_no_secret() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::empty(), volume(Security::Default.user()));
    let backup = debugged(Job::source("backup", volume.path()).on(&place), "0");
    tells_nothing(backup.clone(), 0);
    let target = volume_of(Security::Default.user());
    let restore = debugged(Job::destination(target.path()).on(&place), "0");
    tells_nothing(restore.clone().with("MOVER_SNAPSHOT", "ffffffff"), 1);
    let nothing = restore.clone().with("SELECT_PREVIOUS", "9999").with("MOVER_ON_EMPTY", "fail");
    tells_nothing(nothing, 24);
    if let Some(full) = Full::new() {
        tells_nothing(debugged(Job::destination(full.path()).on(&place), "0"), 20);
    }
    if is_root() {
        fs::write(volume.path().join("closed"), "root's").unwrap();
        fs::set_permissions(volume.path().join("closed"), fs::Permissions::from_mode(0o600)).unwrap();
        tells_nothing(backup, 3);
    }
    let password = format!("{MARK}-RESTIC_PASSWORD");
    let access = Access { password: password.as_bytes(), ..access(Arc::new(SystemClock::new())) };
    let other = library::Mover::of(Repository::open(local(&place.path()), &access).unwrap());
    let held = other.session().locked(LockMode::Exclusive, |_| {
        place.hand_over(Security::Default);
        tells_nothing(restore.with("MOVER_LOCK_WAIT", "0"), 11);
        Ok(())
    });
    held.unwrap();
}

/// A Job of ours, with the program's other operations.
fn operations(operations: &str, data: &Path) -> Job {
    Job::source(operations, data).without("FORGET_OPTIONS")
}

#[test]
fn reports_and_json_tell_no_secret() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::empty(), volume(Security::Default.user()));
    let reports = open_folder();
    let job = operations("backup snapshots ls stats check verify doctor prune unlock report", volume.path())
        .on(&place);
    let mut job = hushed(job).mount(reports.path(), "/reports").with("DEBUG_MOVER", "1");
    job = job.with("MOVER_VERIFY_REPORT", "/reports/verify.json");
    job = job.with("MOVER_VERIFY_JUNIT", "/reports/verify.xml");
    job = job.with("MOVER_REPORT_HTML", "/reports/report.html");
    for json in ["0", "1"] {
        let job = telling(job.clone().with("MOVER_JSON", json), reports.path());
        let ran = job.run();
        assert_hushed(&ran, 0);
        assert_told(reports.path(), &ran);
        let page = fs::read_to_string(reports.path().join("report.html")).unwrap();
        assert!(page.ends_with("</html>\n") && !page.contains(MARK), "{page}");
        // A condition is broken: the report of a failure.
        let mut job = job.with("MOVER_VERIFY_MIN_FILES", "1000");
        job.operations = vec!["verify".to_owned()];
        let ran = job.run();
        assert!(ran.code == 25 && !ran.log.contains(MARK), "{}", ran.log);
        assert_told(reports.path(), &ran);
        for name in ["verify.json", "verify.xml"] {
            let text = fs::read_to_string(reports.path().join(name)).unwrap();
            assert!(!text.is_empty() && !text.contains(MARK), "{text}");
        }
    }
}

#[test]
fn the_command_line_holds_no_secret() {
    if !volumes_can_be_given() {
        return;
    }
    let (place, volume) = (Mounted::empty(), volume(Security::Default.user()));
    let told = open_folder();
    let job = hushed(Job::source("backup", volume.path()).on(&place)).without("FORGET_OPTIONS");
    let job = debugged(telling(job, told.path()), "0");
    let mover = Mover::start(&job.with("MOVER_LIMIT_UPLOAD", "1"));
    wait_until("its lock", || place.count("locks") == 1);
    let mut read = 0;
    for process in fs::read_dir("/proc").unwrap() {
        let Ok(line) = fs::read(process.unwrap().path().join("cmdline")) else { continue };
        read += 1;
        assert!(!String::from_utf8_lossy(&line).contains(MARK), "{}", String::from_utf8_lossy(&line));
    }
    assert!(read > 1);
    mover.signal(rustix::process::Signal::TERM);
    let ran = mover.finish();
    assert_hushed(&ran, 143);
    assert_told(told.path(), &ran);
}
