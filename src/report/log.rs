//! The log: `tracing` events to stderr through the monitor, one line each, chosen by a filter text.
//!
//! ```text
//! 2026-11-21T08:13:50.666Z  WARN volmover::backend::retry: request failed, trying again path=index/ab12
//! ```
//!
//! Known secrets are blotted out of every line (`secrets.rs`): our own types never print them, but the events of
//! libraries pass here too.

use std::fmt::{self, Write};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry};

use super::{Monitor, Secrets};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};

/// What every log line goes through.
pub struct Log {
    /// Where lines go: `Monitor::log`.
    pub monitor: Arc<dyn Monitor>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// What no line may hold.
    pub secrets: Secrets,
}

/// Starts the log for the whole process, with a filter such as `info` or `debug,hyper=warn`.
///
/// # Errors
/// A usage error that names `MOVER_LOG` for a text that is no filter; any other when a log runs already.
pub fn start(filter: &str, log: Log) -> Result<()> {
    let filter = parse(filter)?;
    let started = subscriber(filter, log).try_init();
    started.map_err(|cause| Error::new(ErrorKind::Other, "failed to start the log").because(cause))
}

fn parse(filter: &str) -> Result<EnvFilter> {
    EnvFilter::builder().parse(filter).map_err(|cause| {
        let accepted =
            "Set a level (error, warn, info, debug, trace, off) or a tracing filter such as info,hyper=warn";
        Error::usage("invalid value").at(format!("MOVER_LOG={filter}")).because(cause).then(accepted)
    })
}

fn subscriber(filter: EnvFilter, log: Log) -> impl Subscriber + Send + Sync {
    Registry::default().with(filter).with(log)
}

impl Log {
    fn text(&self, event: &Event<'_>) -> String {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (time, level) = (self.clock.now(), metadata.level());
        let Fields { message, rest } = fields;
        self.secrets.blot(format!("{time:.3} {level:>5} {}: {message}{rest}", metadata.target()))
    }
}

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        self.monitor.log(&self.text(event));
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Log")
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    rest: String,
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a `String` cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.rest, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::super::run::HandClock;
    use super::super::{Sinks, TextMonitor};
    use super::*;
    use zeroize::Zeroizing;

    fn logged(filter: &str, act: impl FnOnce()) -> String {
        let (sinks, out, err) = Sinks::captured();
        let clock: Arc<dyn Clock> = Arc::new(HandClock::default());
        let monitor = Arc::new(TextMonitor::new(sinks, Arc::clone(&clock), None));
        let secrets =
            Secrets::of(["geheim", "abc"].map(|secret| Zeroizing::new(secret.to_owned())).into_iter());
        let log = Log { monitor, clock, secrets };
        tracing::subscriber::with_default(subscriber(parse(filter).unwrap(), log), act);
        assert_eq!(out.text(), "");
        err.text()
    }

    #[test]
    fn an_event_is_one_line_without_secrets() {
        let text = logged("info", || {
            tracing::warn!(target: "volmover::x", path = "a\nb", header = ?"geheim", "tried {} with geheim", 3);
            tracing::debug!("not asked for");
            tracing::info!(target: "volmover::x", bytes = 5, "abc");
        });
        let expected = "1970-01-01T00:00:00.000Z  WARN volmover::x: tried 3 with *** path=a\\nb header=\"***\"\n\
                        1970-01-01T00:00:00.000Z  INFO volmover::x: abc bytes=5\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_filter_names_modules_and_a_bad_one_is_a_usage_error() {
        let text = logged("warn,volmover::y=debug", || {
            tracing::debug!(target: "volmover::y", "seen");
            tracing::info!(target: "volmover::z", "unseen");
        });
        assert_eq!(text, "1970-01-01T00:00:00.000Z DEBUG volmover::y: seen\n");
        let error = parse("info,volmover=loud").unwrap_err();
        assert_eq!(error.kind, ErrorKind::Usage);
        assert!(error.to_string().starts_with("invalid value: MOVER_LOG=info,volmover=loud: "), "{error}");
    }
}
