//! The ways out of a run's summary: files, metrics and messages, all at once.
//!
//! None of them ever fails a run or holds it up: each works on a thread of its own, all of them together have
//! `DEADLINE`, and what they did not manage is one warning. Whoever hangs is left behind. A run for which
//! none is set starts no thread and no network.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use crate::config::network::Network;
use crate::config::outlets::{Notify, NotifyFormat, OutletsConfig};
use crate::report::{Collector, RunSummary};

mod cache;
mod exposition;
pub(crate) mod file;
mod http;
pub mod last_success;
mod listen;
pub mod metrics;
mod notify;
mod otlp;
mod protobuf;
mod pushgateway;

use cache::Cache;
use http::Http;
use metrics::Sample;

/// How long all ways out together may take at the end of a run.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Where Kubernetes looks, unless a pod says otherwise.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// How often a run that lasts says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What a way out does with the summary, or why it could not.
type Tell = dyn FnOnce(&RunSummary) -> Result<(), String> + Send;

/// One way out, and what it is called.
struct Outlet {
    name: &'static str,
    tell: Box<Tell>,
}

impl Outlet {
    fn new(
        name: &'static str,
        tell: impl FnOnce(&RunSummary) -> Result<(), String> + Send + 'static,
    ) -> Self {
        Self { name, tell: Box::new(tell) }
    }
}

/// The ways out that are set.
#[derive(Default)]
pub struct Outlets {
    all: Vec<Outlet>,
}

/// What a way out does with samples, or why it could not.
type Show = dyn Fn(&[Sample]) -> Result<(), String> + Send + Sync;

/// Who is told of samples, also while the run lasts; once `true`, the last word is said.
#[derive(Clone)]
struct Gauge {
    show: Arc<Show>,
    closed: Arc<Mutex<bool>>,
}

impl Gauge {
    fn new(show: impl Fn(&[Sample]) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self { show: Arc::new(show), closed: Arc::default() }
    }

    fn closed(&self) -> MutexGuard<'_, bool> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A sign of life; it never comes after the last word. What goes wrong is told at the end.
    fn beat(&self, samples: &[Sample]) {
        let closed = self.closed();
        if !*closed {
            let _ = (self.show)(samples);
        }
    }

    fn last_word(&self, samples: &[Sample]) -> Result<(), String> {
        let mut closed = self.closed();
        *closed = true;
        if samples.is_empty() { Ok(()) } else { (self.show)(samples) }
    }
}

impl Outlets {
    /// Those of a configuration, and the start of those that are told while the run lasts.
    #[must_use]
    pub fn start(config: &OutletsConfig, network: &Network, collector: &Arc<Collector>) -> Self {
        let http = Http::new(network, DEADLINE);
        let cache = Cache::at(config.cache_dir.clone());
        let mut all = files(config);
        let gauges = gauges(config, &http);
        for (name, gauge) in gauges.clone() {
            let cache = cache.clone();
            all.push(Outlet::new(name, move |summary| {
                gauge.last_word(&metrics::samples(summary, cache.bytes()))
            }));
        }
        beat(gauges, collector, HEARTBEAT);
        if !config.metrics_listen.is_empty()
            && let Err(cause) = listen::start(&config.metrics_listen, Arc::clone(collector))
        {
            all.push(Outlet::new("MOVER_METRICS_LISTEN", move |_| Err(cause)));
        }
        if config.otlp.is_set() {
            let (http, otlp) = (http.clone(), config.otlp.clone());
            all.push(Outlet::new("OTEL_EXPORTER_OTLP_ENDPOINT", move |summary| {
                otlp::send(&http, &otlp, summary, cache.bytes())
            }));
        }
        let dry_run = collector.summary().dry_run;
        all.extend(config.notify.clone().and_then(|notify| webhook(&http, notify, dry_run)));
        Self { all }
    }

    /// Tells all of them, and waits for at most `deadline`. Who could not be told is the answer, in one line.
    #[must_use]
    pub fn tell(self, summary: &RunSummary, deadline: Duration) -> Option<String> {
        let start = Instant::now();
        let (done, ended) = mpsc::channel();
        let mut waiting = Vec::new();
        for Outlet { name, tell } in self.all {
            let (done, summary) = (done.clone(), summary.clone());
            let work = move || drop(done.send((name, tell(&summary))));
            if std::thread::Builder::new().name("outlet".to_owned()).spawn(work).is_ok() {
                waiting.push(name);
            }
        }
        drop(done);
        let mut failed = Vec::new();
        while !waiting.is_empty() {
            let Ok((name, outcome)) = ended.recv_timeout(deadline.saturating_sub(start.elapsed())) else {
                break;
            };
            waiting.retain(|other| *other != name);
            failed.extend(outcome.err().map(|cause| format!("{name}: {cause}")));
        }
        let seconds = deadline.as_secs();
        failed.extend(waiting.iter().map(|name| format!("{name}: not done within {seconds} s")));
        (!failed.is_empty()).then(|| format!("this run could not be told to {}", failed.join("; ")))
    }
}

fn files(config: &OutletsConfig) -> Vec<Outlet> {
    let mut files = Vec::new();
    if let Some(path) = config.termination_log.clone() {
        files.push(Outlet::new("MOVER_TERMINATION_LOG", move |summary| file::terminate(&path, summary)));
    } else if file::is_writable(Path::new(TERMINATION_LOG)) {
        let tell = |summary: &RunSummary| file::terminate(Path::new(TERMINATION_LOG), summary);
        files.push(Outlet::new(TERMINATION_LOG, tell));
    }
    if let Some(path) = config.report_file.clone() {
        let tell = move |summary: &RunSummary| file::replace(&path, &format!("{}\n", summary.json()));
        files.push(Outlet::new("MOVER_REPORT_FILE", tell));
    }
    files
}

fn gauges(config: &OutletsConfig, http: &Http) -> Vec<(&'static str, Gauge)> {
    let mut gauges = Vec::new();
    if let Some(path) = config.metrics_file.clone() {
        gauges.push(("MOVER_METRICS_FILE", Gauge::new(move |samples| file::merge(&path, samples))));
    }
    if let Some(url) = config.pushgateway.clone() {
        let http = http.clone();
        gauges.push((
            "MOVER_PUSHGATEWAY",
            Gauge::new(move |samples| pushgateway::push(&http, &url.text(), samples)),
        ));
    }
    gauges
}

/// The end must not arrive before the beginning, which is told meanwhile.
fn webhook(http: &Http, notify: Notify, dry_run: bool) -> Option<Outlet> {
    if dry_run && notify.format == NotifyFormat::Healthchecks {
        // It has no words: a trial would pass for the backup that is waited for.
        return None;
    }
    let http = http.clone();
    let begun = notify::wants_start(&notify).then(|| {
        let (http, notify) = (http.clone(), notify.clone());
        let thread = std::thread::Builder::new().name("outlet".to_owned());
        thread.spawn(move || notify::start(&http, &notify)).ok()
    });
    Some(Outlet::new("MOVER_NOTIFY_URL", move |summary| {
        let begun = begun.flatten().map_or(Ok(()), |thread| thread.join().unwrap_or(Ok(())));
        notify::end(&http, &notify, summary).and(begun)
    }))
}

/// Says from time to time that the run is alive, on a thread that nobody waits for.
fn beat(gauges: Vec<(&'static str, Gauge)>, collector: &Arc<Collector>, interval: Duration) {
    if gauges.is_empty() {
        return;
    }
    let collector = Arc::clone(collector);
    let beats = move || {
        while gauges.iter().any(|(_, gauge)| !*gauge.closed()) {
            std::thread::sleep(interval);
            let samples = metrics::heartbeat(&collector.summary());
            if !samples.is_empty() {
                for (_, gauge) in &gauges {
                    gauge.beat(&samples);
                }
            }
        }
    };
    // Without a thread there is no sign of life, and no other harm.
    let _ = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(beats);
}

impl std::fmt::Debug for Outlets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.all.iter().map(|outlet| outlet.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::clock::SystemClock;
    use crate::report::collector::About;
    use crate::report::run_summary::testing::summary;
    use crate::report::run_summary::{Object, Traffic};
    use crate::report::{Monitor, Secrets, SilentMonitor};

    fn outlet(tell: impl FnOnce(&RunSummary) -> Result<(), String> + Send + 'static) -> Outlet {
        Outlet::new("MOVER_X", tell)
    }

    #[test]
    fn what_fails_and_what_hangs_is_one_warning_and_the_rest_is_told() {
        let (told, heard) = mpsc::channel();
        let hang = move |_: &RunSummary| {
            std::thread::park();
            Ok(())
        };
        let all = vec![
            Outlet::new("HANGS", hang),
            Outlet::new("FAILS", |_| Err("no such host".to_owned())),
            Outlet::new("DIES", |_| panic!("of a fault")),
            outlet(move |summary| told.send(summary.exit_code).map_err(|_| String::new())),
        ];
        let warning = Outlets { all }.tell(&summary(), Duration::from_millis(300)).unwrap();
        assert!(warning.starts_with("this run could not be told to "), "{warning}");
        for part in ["FAILS: no such host", "HANGS: not done within 0 s", "DIES: not done"] {
            assert!(warning.contains(part), "{warning}");
        }
        assert!(!warning.contains("MOVER_X"), "{warning}");
        assert_eq!(heard.recv().unwrap(), summary().exit_code);
    }

    #[test]
    fn whoever_is_done_is_not_waited_for() {
        let never = Duration::from_secs(u64::from(u32::MAX));
        assert_eq!(Outlets::default().tell(&summary(), never), None);
        assert_eq!(Outlets { all: vec![outlet(|_| Ok(()))] }.tell(&summary(), never), None);
        assert_eq!(DEADLINE, Duration::from_secs(5));
    }

    #[test]
    fn a_run_that_lasts_has_a_pulse_until_the_last_word() {
        let about = About {
            object: Object::default(),
            repository: None,
            operations: vec!["backup"],
            dry_run: false,
            secrets: Secrets::default(),
        };
        let clock = Arc::new(SystemClock::new());
        let collector =
            Collector::new(Arc::new(SilentMonitor::default()), clock, about, Box::new(Traffic::default));
        collector.operation_started("backup");
        let (told, heard) = mpsc::channel();
        let gauge = Gauge::new(move |samples| told.send(samples.len()).map_err(|cause| cause.to_string()));
        beat(vec![("MOVER_X", gauge.clone())], &collector, Duration::from_millis(2));
        for _ in 0..3 {
            assert_eq!(heard.recv().unwrap(), 2, "the heartbeat and when it began");
        }
        let last = metrics::samples(&summary(), None);
        gauge.last_word(&last).unwrap();
        let rest: Vec<usize> =
            std::iter::from_fn(|| heard.recv_timeout(Duration::from_millis(50)).ok()).collect();
        assert_eq!(rest.last(), Some(&last.len()), "nothing comes after the last word");
        assert!(last.len() > 2);
    }
}
