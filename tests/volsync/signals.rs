//! The mover as process 1: it ends in order when it is told to, and leaves no zombies.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::job::{Job, Mounted, Security, give};
use crate::scenarios::{KEEP, saved_listing, users, volume, volumes_can_be_given};
use crate::support::children::wait_until;
use crate::support::listing::{assert_same, list};
use crate::support::skipped;
use crate::support::source::random_bytes;
use crate::way::{Mover, image};

#[test]
fn a_terminated_backup_leaves_no_lock_and_its_retry_is_whole() {
    if volumes_can_be_given() {
        users().for_each(terminated);
    }
}

fn terminated(security: Security) {
    let (place, volume) = (Mounted::of(security), volume(security.user()));
    fs::write(volume.path().join("large"), random_bytes(5, 8 << 20)).unwrap();
    give(volume.path(), security.user());
    let job = Job::source("backup", volume.path()).on(&place).security(security);
    let job = job.with("FORGET_OPTIONS", KEEP);
    let mover = Mover::start(&job.clone().with("MOVER_LIMIT_UPLOAD", "1"));
    wait_until("its lock", || place.count("locks") == 1);
    mover.signal(Signal::TERM);
    let ran = mover.finish();
    assert_eq!(ran.code, 143, "{}", ran.log);
    assert!(ran.log.lines().last().unwrap().starts_with("Fatal: "), "{}", ran.log);
    assert_eq!((place.count("locks"), place.count("snapshots")), (0, 0));
    let expected = saved_listing(volume.path());
    job.succeeds();
    let target = crate::job::volume_of(security.user());
    Job::destination(target.path()).on(&place).security(security).succeeds();
    assert_same(&expected, &list(target.path()), "the restored volume");
}

/// A password command that leaves a grandchild behind; it ends after a second.
const ORPHANING: &str = "
#include <stdio.h>
#include <unistd.h>
int main(void) {
    if (fork() == 0) {
        close(1);
        sleep(1);
        return 0;
    }
    puts(\"volmover\");
    return 0;
}
";

#[test]
fn process_1_leaves_no_zombies() {
    if !volumes_can_be_given() {
        return;
    }
    if image().is_none() {
        return skipped("zombies: without a container nobody is process 1");
    }
    let folder = crate::job::open_folder();
    let helper = folder.path().join("helper");
    let mut compiler = Command::new("cc");
    compiler.args(["-x", "c", "-static", "-o"]).arg(&helper).arg("-").stdin(Stdio::piped());
    let mut compiler = compiler.spawn().unwrap();
    compiler.stdin.take().unwrap().write_all(ORPHANING.as_bytes()).unwrap();
    assert!(compiler.wait().unwrap().success());
    let (place, volume) = (Mounted::new(), volume(Security::Default.user()));
    fs::write(volume.path().join("large"), random_bytes(5, 8 << 20)).unwrap();
    give(volume.path(), Security::Default.user());
    let job = Job::source("backup", volume.path()).on(&place).mount(folder.path(), "/helpers");
    let job = job.without("RESTIC_PASSWORD").with("RESTIC_PASSWORD_COMMAND", "/helpers/helper");
    let mover = Mover::start(&job.with("MOVER_LIMIT_UPLOAD", "1"));
    let pid = || mover.pid().unwrap_or_default();
    wait_until("the orphan", || children(pid()) == 1);
    wait_until("its end", || children(pid()) == 0);
    mover.signal(Signal::TERM);
    assert_eq!(mover.finish().code, 143);
}

/// How many children a process has, zombies too.
fn children(parent: i32) -> usize {
    let parent_of = |path: std::path::PathBuf| {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        stat.rsplit(") ").next()?.split(' ').nth(1)?.parse::<i32>().ok()
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter(|entry| parent_of(entry.as_ref().unwrap().path()) == Some(parent))
        .count()
}
