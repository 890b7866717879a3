//! What the collector remembers of a run, by a clock that is set by hand: phases, figures, failures, no secret.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::super::SilentMonitor;
use super::super::run::HandClock;
use super::super::run_summary::{CacheFigures, Hedges, Requests};
use super::*;
use crate::error::ErrorKind;
use zeroize::Zeroizing;

/// A run of two operations; its store was asked once for each second that passed.
fn run() -> (Arc<Collector>, Arc<HandClock>) {
    let clock = Arc::new(HandClock::default());
    let about = About {
        object: Object::default(),
        repository: None,
        operations: vec!["backup", "prune"],
        dry_run: false,
        secrets: Secrets::of(std::iter::once(Zeroizing::new("Gehe1m-secret".to_owned()))),
    };
    let asked = Arc::clone(&clock);
    let meter = move || {
        let count = asked.elapsed().as_secs();
        let requests = vec![Requests { request: "read", outcome: "ok", count }];
        // The cache is asked within the first ten seconds.
        let cache = Some(CacheFigures { hits: count.min(10), misses: 2, bytes: Some(100) });
        let hedges = Hedges { sent: 2 * count, won: count };
        Traffic { requests, hedges, downloaded_bytes: 10 * count, cache, ..Traffic::default() }
    };
    let inner = Arc::new(SilentMonitor::default());
    (Collector::new(inner, Arc::<HandClock>::clone(&clock), about, Box::new(meter)), clock)
}

fn pass(clock: &HandClock, seconds: u64) {
    clock.sleep(Duration::from_secs(seconds));
}

fn phases(operation: &OperationSummary) -> Vec<(&str, f64)> {
    operation.phases.iter().map(|phase| (phase.name.as_str(), phase.seconds)).collect()
}

#[test]
fn operations_have_their_own_seconds_phases_and_requests() {
    let (run, clock) = run();
    pass(&clock, 1);
    run.operation_started("backup");
    pass(&clock, 2);
    run.phase("reading");
    pass(&clock, 3);
    run.phase("reading");
    run.retrying("read");
    run.locks_found(2, 0);
    run.locks_found(1, 1);

    // While it runs, it says how far it is.
    let summary = run.summary();
    assert_eq!((summary.outcome, summary.exit_code), (Outcome::Running, None));
    let [backup, prune] = &summary.operations[..] else { panic!("{summary:?}") };
    assert_eq!((backup.outcome, backup.duration, prune.outcome), (Outcome::Running, 5.0, Outcome::NotRun));
    assert_eq!(phases(backup), [("starting", 2.0), ("reading", 3.0)]);

    run.phase("writing");
    pass(&clock, 4);
    run.phase("reading");
    pass(&clock, 1);
    run.operation_ended(None);
    pass(&clock, 1);
    run.operation_started("prune");
    run.skipped();
    pass(&clock, 5);
    run.operation_ended(None);
    run.close(None);
    let summary = run.summary();
    assert_eq!((summary.outcome, summary.exit_code, summary.duration), (Outcome::Success, Some(0), 17.0));
    let [backup, prune] = &summary.operations[..] else { panic!("{summary:?}") };
    assert_eq!(phases(backup), [("starting", 2.0), ("reading", 4.0), ("writing", 4.0)]);
    assert_eq!((backup.duration, backup.traffic.requests_total()), (10.0, 10));
    assert_eq!((backup.traffic.retries_total(), prune.traffic.retries_total()), (1, 0));
    assert_eq!(backup.traffic.hedges, Hedges { sent: 20, won: 10 });
    assert_eq!(backup.locks, Some(Locks { live: 2, stale: 1 }));
    assert_eq!((prune.outcome, prune.traffic.downloaded_bytes), (Outcome::Skipped, 50));
    assert_eq!(summary.traffic.requests_total(), 17);
    let asked = CacheFigures { hits: 9, misses: 0, bytes: Some(100) };
    assert_eq!((backup.traffic.cache, prune.traffic.cache), (Some(asked), None));
}

#[test]
fn what_is_remembered_holds_no_secret_and_has_an_end() {
    let (run, _clock) = run();
    run.operation_started("backup");
    for _ in 0..1000 {
        run.warn(&format!("Gehe1m-secret\n{}", "x".repeat(1000)));
        run.item_failed("archival", "/data/Gehe1m-secret", &"y".repeat(1000));
    }
    let secret = || "of Gehe1m-secret".to_owned();
    let mut error = Error::new(ErrorKind::Denied, secret());
    (error.place, error.cause, error.next) = (Some(secret()), Some(secret()), Some(secret()));
    run.operation_ended(Some(&error));
    run.close(Some(&error));
    let summary = run.summary();
    let json = summary.json();
    assert!(!json.contains("Gehe1m") && json.len() < 10_000, "{} bytes: {json}", json.len());
    assert!(!summary.text().contains("Gehe1m"));
    assert_eq!((summary.warnings_total, summary.warnings.len()), (1000, 10));
    assert!(summary.warnings[0].starts_with("***\\nxxx"), "{}", summary.warnings[0]);
    let backup = &summary.operations[0];
    assert_eq!((backup.items_failed_total, backup.items_failed.len()), (1000, 10));
    let failure = summary.error.unwrap();
    assert_eq!((failure.what.as_str(), failure.next.as_str()), ("of ***", "of ***"));
    assert_eq!(failure.line, "Fatal: of ***: of ***: of ***. of ***");
}

#[test]
fn a_failure_belongs_to_who_ran_or_was_to_run_next() {
    let error = Error::new(ErrorKind::Locked, "locked");
    for done in [0, 1, 2] {
        let (run, _clock) = run();
        for name in ["backup", "prune"].into_iter().take(done) {
            run.operation_started(name);
            run.operation_ended(None);
        }
        run.close(Some(&error));
        let summary = run.summary();
        assert_eq!((summary.outcome, summary.exit_code), (Outcome::Failed, Some(11)));
        let failed = summary.operations.iter().position(|operation| operation.outcome == Outcome::Failed);
        assert_eq!(failed, (done < 2).then_some(done), "after {done}");
        // Nothing of it said what to do, so its kind does.
        assert_eq!(summary.error.unwrap().next, ErrorKind::Locked.advice());
    }
}

#[test]
fn who_does_an_operation_twice_is_told_twice() {
    let clock = Arc::new(HandClock::default());
    let about = About {
        object: Object::default(),
        repository: None,
        operations: vec!["check", "check"],
        dry_run: false,
        secrets: Secrets::default(),
    };
    let inner = Arc::new(SilentMonitor::default());
    let run = Collector::new(inner, Arc::<HandClock>::clone(&clock), about, Box::new(Traffic::default));
    for seconds in [1, 2] {
        run.operation_started("check");
        pass(&clock, seconds);
        run.found_nothing();
        run.operation_ended(None);
    }
    run.close(None);
    let summary = run.summary();
    assert_eq!(summary.operations.iter().map(|check| check.duration).collect::<Vec<_>>(), [1.0, 2.0]);
    assert_eq!((summary.outcome, summary.exit_code), (Outcome::Nothing, Some(0)));
}
