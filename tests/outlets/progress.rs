//! What a run says before its operation has anything to count.

use std::io::{BufRead, BufReader};

use super::call::Call;
use super::stub::Stub;

#[test]
fn who_waits_for_a_repository_to_open_says_so() {
    // It takes every request and never answers.
    let silent = Stub::start(|_| None);
    let mut running = Call::on("snapshots", format!("s3:{}/bucket", silent.url()))
        .with("AWS_ACCESS_KEY_ID", "AKIAGehe1m")
        .with("AWS_SECRET_ACCESS_KEY", "Gehe1m/secret")
        .with("RESTIC_PROGRESS_FPS", "20")
        .start();
    let mut lines = BufReader::new(running.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.ends_with("] opening the repository"), "{first}");
}
