//! The ways out of a run's summary: files, metrics and messages, all at once.
//!
//! None of them ever fails a run or holds it up: each works on a thread of its own, all of them together have
//! `DEADLINE`, and what they did not manage is one warning. Whoever hangs is left behind. A run for which
//! none is set starts no thread and no network.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::config::outlets::OutletsConfig;
use crate::report::RunSummary;

mod file;

/// How long all ways out together may take at the end of a run.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// Where Kubernetes looks, unless a pod says otherwise.
const TERMINATION_LOG: &str = "/dev/termination-log";

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

impl Outlets {
    /// Those of a configuration.
    #[must_use]
    pub fn new(config: &OutletsConfig) -> Self {
        let mut all = Vec::new();
        if let Some(path) = config.termination_log.clone() {
            all.push(Outlet::new("MOVER_TERMINATION_LOG", move |summary| file::terminate(&path, summary)));
        } else if file::is_writable(Path::new(TERMINATION_LOG)) {
            let tell = |summary: &RunSummary| file::terminate(Path::new(TERMINATION_LOG), summary);
            all.push(Outlet::new(TERMINATION_LOG, tell));
        }
        if let Some(path) = config.report_file.clone() {
            let tell = move |summary: &RunSummary| file::replace(&path, &format!("{}\n", summary.json()));
            all.push(Outlet::new("MOVER_REPORT_FILE", tell));
        }
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

impl std::fmt::Debug for Outlets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_list().entries(self.all.iter().map(|outlet| outlet.name)).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::report::run_summary::testing::summary;

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
}
