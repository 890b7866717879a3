//! Who else is told of a run: files, metrics, messages.
//!
//! What is wrong here is a usage error like any other; what fails later never fails the run.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::env::{Lookup, invalid};
use super::operation::Operation;
use super::otlp::Otlp;
use super::secret::{Secret, credentials};
use super::values::{Parsed, choice};
use super::variable::Variable;
use super::variables::{
    MOVER_METRICS_FILE, MOVER_METRICS_LISTEN, MOVER_NAME, MOVER_NAMESPACE, MOVER_NOTIFY_FORMAT,
    MOVER_NOTIFY_ON, MOVER_NOTIFY_URL, MOVER_PUSHGATEWAY, MOVER_REPORT_FILE, MOVER_TERMINATION_LOG,
};
use crate::error::{Error, Result};
use crate::host::pod_namespace;
use crate::report::run_summary::Object;

/// Every way out of a run's summary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutletsConfig {
    /// Whom the run serves.
    pub object: Object,
    /// `MOVER_TERMINATION_LOG`; none: Kubernetes' own file, where it is.
    pub termination_log: Option<PathBuf>,
    /// `MOVER_REPORT_FILE`.
    pub report_file: Option<PathBuf>,
    /// `MOVER_METRICS_FILE`.
    pub metrics_file: Option<PathBuf>,
    /// `MOVER_METRICS_LISTEN`; the first that can be had is taken.
    pub metrics_listen: Vec<SocketAddr>,
    /// `MOVER_PUSHGATEWAY`; it may hold a password.
    pub pushgateway: Option<Secret>,
    /// The folder of the cache, whose size is told.
    pub cache_dir: Option<PathBuf>,
    /// OpenTelemetry.
    pub otlp: Otlp,
    /// `MOVER_NOTIFY_URL` and what belongs to it.
    pub notify: Option<Notify>,
    /// The parts of all these that nobody may see.
    credentials: Vec<Secret>,
}

/// A webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notify {
    /// Its URL, which is often a secret itself.
    pub url: Secret,
    /// When it is called.
    pub on: NotifyOn,
    /// In which form.
    pub format: NotifyFormat,
}

/// When a webhook is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifyOn {
    /// After a run that failed.
    Failure,
    /// After a run that did not.
    Success,
    /// After every run.
    Both,
}

/// What a webhook understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotifyFormat {
    /// The summary as JSON.
    Json,
    /// ntfy: a text with a title and a priority.
    Ntfy,
    /// Slack, and who takes its messages: `{"text": …}`.
    Slack,
    /// healthchecks.io: the URL itself, `/start` and `/fail`.
    Healthchecks,
}

impl OutletsConfig {
    /// From the variables.
    ///
    /// # Errors
    /// A usage error for the first value that is wrong.
    pub fn parse(lookup: &Lookup, operations: &[Operation]) -> Result<Self> {
        let (config, wrong) = Self::as_far_as_valid(lookup, operations);
        wrong.map_or(Ok(config), Err)
    }

    /// Those that are valid, and the first error: who asked for what cannot be is told wherever it can be.
    #[must_use]
    pub fn as_far_as_valid(lookup: &Lookup, operations: &[Operation]) -> (Self, Option<Error>) {
        let wrong = &mut None;
        let mut config = Self {
            object: valid(object(lookup, operations), wrong),
            termination_log: lookup.path(&MOVER_TERMINATION_LOG),
            report_file: lookup.path(&MOVER_REPORT_FILE),
            metrics_file: lookup.path(&MOVER_METRICS_FILE),
            metrics_listen: valid(lookup.parse(&MOVER_METRICS_LISTEN, addresses), wrong).unwrap_or_default(),
            cache_dir: valid(super::cache(lookup), wrong).map(|place| place.folder),
            pushgateway: valid(url(lookup, &MOVER_PUSHGATEWAY), wrong),
            otlp: valid(Otlp::parse(lookup), wrong),
            notify: valid(Notify::parse(lookup), wrong),
            credentials: Vec::new(),
        };
        config.credentials = config.hidden();
        (config, wrong.take())
    }

    /// Every secret in it.
    pub fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.credentials.iter()
    }

    fn hidden(&self) -> Vec<Secret> {
        let notify = self.notify.as_ref().map(|notify| &notify.url);
        let urls = self.pushgateway.iter().chain(self.otlp.urls()).chain(notify);
        let mut hidden: Vec<Secret> = urls.flat_map(credentials).collect();
        // Whoever knows such a URL may call it.
        hidden.extend(notify.cloned());
        hidden.extend(self.otlp.headers.iter().map(|(_, value)| value.clone()));
        hidden
    }
}

impl Notify {
    fn parse(lookup: &Lookup) -> Result<Option<Self>> {
        let formats = [
            ("json", NotifyFormat::Json),
            ("ntfy", NotifyFormat::Ntfy),
            ("slack", NotifyFormat::Slack),
            ("healthchecks", NotifyFormat::Healthchecks),
        ];
        let times =
            [("failure", NotifyOn::Failure), ("success", NotifyOn::Success), ("both", NotifyOn::Both)];
        let format = lookup.parse(&MOVER_NOTIFY_FORMAT, |text| choice(text, &formats))?;
        let format = format.unwrap_or(NotifyFormat::Json);
        let on = lookup.parse(&MOVER_NOTIFY_ON, |text| choice(text, &times))?;
        // A check that never hears of success takes every backup for missing.
        let on = on.unwrap_or(match format {
            NotifyFormat::Healthchecks => NotifyOn::Both,
            _ => NotifyOn::Failure,
        });
        Ok(url(lookup, &MOVER_NOTIFY_URL)?.map(|url| Self { url, on, format }))
    }
}

/// A part of it, left out where it is wrong.
fn valid<T: Default>(parsed: Result<T>, wrong: &mut Option<Error>) -> T {
    parsed.unwrap_or_else(|error| {
        wrong.get_or_insert(error);
        T::default()
    })
}

pub(super) fn url(lookup: &Lookup, variable: &Variable) -> Result<Option<Secret>> {
    let Some(text) = lookup.text(variable)? else { return Ok(None) };
    let fits =
        reqwest::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if fits {
        Ok(Some(Secret::new(text.as_bytes().to_vec())))
    } else {
        Err(invalid(variable, text, "a URL such as https://host:8080/path"))
    }
}

/// `host:port`; without a host every interface is meant, of IPv6 too where the machine has it.
fn addresses(text: &str) -> Parsed<Vec<SocketAddr>> {
    let hosts: &[&str] = if text.starts_with(':') { &["[::]", "0.0.0.0"] } else { &[""] };
    let parsed: Result<Vec<_>, _> = hosts.iter().map(|host| format!("{host}{text}").parse()).collect();
    parsed.map_err(|_| "an address such as :9117, 127.0.0.1:9117 or [::1]:9117".to_owned())
}

/// Names are labels only, so a guess by the pod's name will do.
fn object(lookup: &Lookup, operations: &[Operation]) -> Result<Object> {
    let kernels = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let role = if operations.contains(&Operation::Backup) {
        "source"
    } else if operations.contains(&Operation::Restore) {
        "destination"
    } else {
        "maintenance"
    };
    Ok(Object {
        obj_name: lookup.text(&MOVER_NAME)?.map_or_else(|| name_of_pod(&kernels()).to_owned(), str::to_owned),
        obj_namespace: lookup.text(&MOVER_NAMESPACE)?.map_or_else(pod_namespace, str::to_owned),
        role,
    })
}

/// The object that a pod serves, by the pod's name, without what differs from run to run: of `VolSync`
/// `volsync-src-<name>-<random>`, of a `CronJob` `<name>-<minutes>-<random>`; any other stays.
fn name_of_pod(pod: &str) -> &str {
    let Some((job, random)) = pod.rsplit_once('-').filter(|(_, random)| random.len() == 5) else {
        return pod;
    };
    let own = job.strip_prefix("volsync-src-").or_else(|| job.strip_prefix("volsync-dst-"));
    let is_minute = |text: &str| text.len() >= 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    let made_by_kubernetes = random.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    match (own, job.rsplit_once('-')) {
        (Some(name), _) if !name.is_empty() => name,
        (None, Some((name, minute))) if made_by_kubernetes && is_minute(minute) && !name.is_empty() => name,
        _ => pod,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::ffi::OsString;

    use super::super::env::Values;
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<OutletsConfig> {
        let values = pairs.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
        OutletsConfig::parse(&Lookup::new(Values::new(), values.collect()).unwrap(), &[])
    }

    #[test]
    fn what_is_wrong_is_refused_without_showing_it() {
        let hidden = [
            ("MOVER_NOTIFY_URL", "hunter2"),
            ("MOVER_PUSHGATEWAY", "ftp://hunter2"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "unix:/hunter2"),
        ];
        for (name, value) in hidden {
            let error = parse(&[(name, value)]).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("invalid value: {name}=***. Accepted: a URL such as https://host:8080/path")
            );
        }
        for (name, value) in
            [("MOVER_METRICS_LISTEN", "9117"), ("MOVER_NOTIFY_ON", "never"), ("MOVER_NOTIFY_FORMAT", "smoke")]
        {
            assert!(parse(&[(name, value)]).is_err(), "{name}");
        }
        let shown =
            |text: &str| addresses(text).unwrap().iter().map(SocketAddr::to_string).collect::<Vec<_>>();
        assert_eq!(shown(":9117"), ["[::]:9117", "0.0.0.0:9117"]);
        assert_eq!(shown("127.0.0.1:0"), ["127.0.0.1:0"]);
    }

    #[test]
    fn healthchecks_hear_of_success_unless_told_otherwise() {
        let on = |pairs: &[(&str, &str)]| {
            let url = [("MOVER_NOTIFY_URL", "https://hc.example/x")];
            parse(&[&url, pairs].concat()).unwrap().notify.unwrap().on
        };
        assert_eq!(on(&[]), NotifyOn::Failure);
        assert_eq!(on(&[("MOVER_NOTIFY_FORMAT", "healthchecks")]), NotifyOn::Both);
        assert_eq!(
            on(&[("MOVER_NOTIFY_FORMAT", "healthchecks"), ("MOVER_NOTIFY_ON", "failure")]),
            NotifyOn::Failure
        );
    }

    #[test]
    fn a_pod_of_volsync_is_called_by_its_object() {
        let cases = [
            ("volsync-src-app-data-x7k2p", "app-data"),
            ("volsync-dst-app-q9z4w", "app"),
            ("volsync-src-app", "volsync-src-app"),
            ("volsync-src--q9z4w", "volsync-src--q9z4w"),
            ("volsync-maintenance-29384760-7kq2x", "volsync-maintenance"),
            ("web-29384760-NODE1", "web-29384760-NODE1"),
            ("-29384760-7kq2x", "-29384760-7kq2x"),
            ("backup-2938-7kq2x", "backup-2938-7kq2x"),
            ("node-1", "node-1"),
            ("", ""),
        ];
        for (pod, name) in cases {
            assert_eq!(name_of_pod(pod), name);
        }
    }
}
