//! Reads that hang: a second request is sent, its data taken and the first ended; and when none may be sent.

use std::sync::atomic::{AtomicUsize, Ordering};

use volmover::config::Config;
use volmover::config::env::{Lookup, Values};
use volmover::config::limits::Limits;
use volmover::config::operation::Personality;
use volmover::report::run_summary::{Hedges, Requests};
use volmover::stores::{self, Surroundings, Tally};

use super::*;
use crate::support::children::wait_until;

/// Reads until it is known how long one takes.
const READS: usize = 200;

/// A store with one pack, which was read often enough.
fn warm(options: ObjectOptions) -> ObjectBackend {
    let backend = open(options);
    warm_up(&backend);
    backend
}

fn warm_up(backend: &dyn Backend) {
    backend.write(FileType::Pack, NAME, &data("what is read")).unwrap();
    (0..READS).for_each(|_| drop(part(backend).unwrap()));
}

fn part(backend: &dyn Backend) -> volmover::backend::BackendResult<Bytes> {
    backend.read_range(FileType::Pack, NAME, 5, 7)
}

#[test]
fn a_read_that_hangs_is_asked_for_once_more_and_ended() {
    let server = S3Server::start(Profile::plain());
    let options = options(&server);
    let hedges = Arc::clone(&options.hedges);
    let backend = warm(options);
    let (sent, won) = (hedges.sent(), hedges.won());
    // For ever, be it before the first byte or in the midst: without a second request this would fail.
    for bytes in [0, 3] {
        server.script("GET", "/data/", 0, 1, Fault::Stall(bytes));
        assert_eq!(part(&backend).unwrap(), "is read");
    }
    assert_eq!((hedges.sent() - sent, hedges.won() - won), (2, 2));
    assert!(server.count("GET", "/data/") <= READS + 2 + hedges.sent() as usize);
    wait_until("the end of the first requests", || server.abandoned() == 2 + won);
}

#[test]
fn whole_files_are_hedged_by_their_kind() {
    let server = S3Server::start(Profile::plain());
    let backend = open(options(&server));
    backend.write(FileType::Snapshot, NAME, &data("snapshot")).unwrap();
    (0..READS).for_each(|_| drop(backend.read(FileType::Snapshot, NAME).unwrap()));
    server.script("GET", "/snapshots/", 0, 1, Fault::Stall(0));
    assert_eq!(backend.read(FileType::Snapshot, NAME).unwrap(), "snapshot");
}

#[test]
fn a_store_that_asks_to_slow_down_gets_no_second_request() {
    for (status, code) in [(503, "SlowDown"), (429, "TooManyRequests"), (503, "")] {
        let server = S3Server::start(Profile::plain());
        let mut options = options(&server);
        options.timeouts.idle = Duration::from_secs(1);
        let hedges = Arc::clone(&options.hedges);
        let backend = warm(options);
        let sent = hedges.sent();
        // Whatever it was that the store had too much of.
        server.script("PUT", "/index/", 0, 1, Fault::Answer(status, code));
        backend.write(FileType::Index, NAME, &data("index")).unwrap_err();
        server.script("GET", "/data/", 0, 1, Fault::Stall(0));
        let error = part(&backend).unwrap_err();
        assert!(error.cause.contains("timed out: no data for 1 s"), "{error}");
        assert_eq!(hedges.sent(), sent, "{status} {code}");
    }
}

#[test]
fn a_store_that_is_slow_as_a_whole_is_asked_for_little_more() {
    let server = S3Server::start(Profile::plain());
    let line = proxy::Proxy::start(&server.address(), proxy::Line::default());
    let options = options_at(&format!("http://{}", line.address()));
    let hedges = Arc::clone(&options.hedges);
    let backend = warm(options);
    line.set_line(proxy::Line { latency: Duration::from_millis(150), ..proxy::Line::default() });
    let left = AtomicUsize::new(READS);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    assert_eq!(part(&backend).unwrap(), "is read");
                }
            });
        }
    });
    let sent = hedges.sent() as usize;
    assert!(sent <= 2 * READS / 20, "{sent} second requests for {} reads", 2 * READS);
    assert!(server.count("GET", "/data/") <= 2 * READS + sent, "what is sent is counted");
}

#[test]
fn a_run_counts_them_apart() {
    let server = S3Server::start(Profile::plain());
    let values = [
        ("RESTIC_REPOSITORY", format!("s3:{}/repository/backups/app", server.endpoint())),
        ("RESTIC_PASSWORD", "p".to_owned()),
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
    ];
    let values = values.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
    let lookup = Lookup::new(Values::new(), values.collect()).unwrap();
    let config = Config::parse(&lookup, Personality::Tool, &[], &Limits::of_this_process()).unwrap();
    let tally = Arc::new(Tally::default());
    let around = Surroundings {
        clock: Arc::new(QuickClock::default()),
        random: Arc::new(SystemRandom),
        monitor: Arc::new(RecordingMonitor::default()),
        stop: Arc::new(AtomicBool::new(false)),
        tally: Arc::clone(&tally),
    };
    let store = stores::connect(&config, &around).unwrap();
    warm_up(&store);
    let before = tally.traffic();
    server.script("GET", "/data/", 0, 1, Fault::Stall(0));
    assert_eq!(part(&store).unwrap(), "is read");
    let traffic = tally.traffic().since(&before);
    assert_eq!(traffic.hedges, Hedges { sent: 1, won: 1 });
    assert_eq!(traffic.requests, [Requests { request: "read_range", outcome: "ok", count: 1 }]);
}
