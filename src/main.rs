//! Process entry: arguments and environment → configuration → operations → everybody is told → exit code.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use volmover::allocator;
use volmover::cli::{self, Call, CommandLine};
use volmover::clock::{Clock, SystemClock};
use volmover::config::env::{Lookup, Values, process_environment};
use volmover::config::limits::Limits;
use volmover::config::network::Network;
use volmover::config::operation::{Operation, Personality};
use volmover::config::outlets::OutletsConfig;
use volmover::config::secret::Secret;
use volmover::config::variables::MOVER_JSON;
use volmover::config::{self, Config};
use volmover::error::{Error, Result};
use volmover::outlets::{DEADLINE, Outlets};
use volmover::random::SystemRandom;
use volmover::report::collector::About;
use volmover::report::run_summary::Traffic;
use volmover::report::{self, Choice, Collector, Monitor, Secrets, Sinks};
use volmover::sequence;
use volmover::signals::Interruption;
use volmover::stores::{Surroundings, Tally};

fn main() -> ExitCode {
    let line = cli::parse(std::env::args_os());
    if let Ok(CommandLine::Run(call)) = &line {
        allocator::settle(&process_environment(), std::env::args_os(), &call.operations);
    }
    let sinks = Sinks::standard();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    // Whoever fails before the configuration is known is heard as text.
    let plain = Choice { json: false, terminal: false, frames_per_second: None };
    let early = report::select(plain, Arc::clone(&sinks), Arc::clone(&clock));
    match line {
        Ok(CommandLine::Show { text, exit_code }) => {
            early.output(&text);
            if exit_code != 0 {
                let lookup = Lookup::new(Values::new(), process_environment());
                early.output(&cli::first_steps(
                    &lookup.map(|lookup| config::missing(&lookup)).unwrap_or_default(),
                ));
            }
            ExitCode::from(exit_code)
        }
        Ok(CommandLine::Run(call)) => match configure(&call) {
            Ok((config, warnings)) => run(&config, &call, &warnings, &sinks, clock),
            Err(refused) => {
                if call.personality == Personality::Tool && !refused.json {
                    cli::first_steps(&refused.missing).lines().for_each(|line| early.log(line));
                }
                let Refused { error, json, outlets, .. } = *refused;
                refuse(&Choice { json, ..plain }, &call, outlets, &error, sinks, clock)
            }
        },
        Err(error) => {
            // What the environment says counts here too.
            let lookup = Lookup::new(Values::new(), process_environment());
            let lookup =
                lookup.unwrap_or_else(|_| Lookup::without_directory(Values::new(), process_environment()));
            let call =
                Call { personality: Personality::Tool, operations: Vec::new(), options: Values::new() };
            let Refused { error, json, outlets, .. } = refused(error, &lookup, &call);
            refuse(&Choice { json, ..plain }, &call, outlets, &error, sinks, clock)
        }
    }
}

/// A configuration that is not valid, whether its `MOVER_JSON` is, which variables it lacks, and who is told.
struct Refused {
    error: Error,
    json: bool,
    missing: Vec<&'static str>,
    outlets: (OutletsConfig, Network),
}

fn configure(call: &Call) -> std::result::Result<(Config, Vec<String>), Box<Refused>> {
    let lookup = Lookup::new(call.options.clone(), process_environment()).map_err(|error| {
        let lookup = Lookup::without_directory(call.options.clone(), process_environment());
        Refused { missing: Vec::new(), ..refused(error, &lookup, call) }
    })?;
    let limits = Limits::of_this_process();
    match Config::parse(&lookup, call.personality, &call.operations, &limits) {
        Ok(config) => Ok((config, lookup.warnings())),
        Err(error) => Err(Box::new(refused(error, &lookup, call))),
    }
}

fn refused(error: Error, lookup: &Lookup, call: &Call) -> Refused {
    Refused {
        error,
        json: lookup.flag(&MOVER_JSON, false).unwrap_or(false),
        missing: config::missing(lookup),
        outlets: (
            OutletsConfig::as_far_as_valid(lookup, &call.operations).0,
            Network::parse(lookup).unwrap_or_default(),
        ),
    }
}

/// Who asked for what cannot be is told as well, as far as it is known where.
fn refuse(
    choice: &Choice,
    call: &Call,
    (outlets, network): (OutletsConfig, Network),
    error: &Error,
    sinks: Arc<Sinks>,
    clock: Arc<dyn Clock>,
) -> ExitCode {
    let about = About {
        object: outlets.object.clone(),
        repository: None,
        operations: call.operations.iter().map(|operation| operation.name()).collect(),
        dry_run: false,
        secrets: Secrets::of(outlets.secrets().chain(network.secrets()).map(Secret::text)),
    };
    let monitor = report::select(*choice, sinks, Arc::clone(&clock));
    let collector = Collector::new(monitor, clock, about, Box::new(Traffic::default));
    let outlets = Outlets::start(&outlets, &network, &collector);
    Ending::new(&collector, outlets, choice.json, call).finish(Some(error), DEADLINE)
}

fn run(
    config: &Config,
    call: &Call,
    warnings: &[String],
    sinks: &Arc<Sinks>,
    clock: Arc<dyn Clock>,
) -> ExitCode {
    let terminal = std::io::stderr().is_terminal();
    let json = config.output.json;
    let choice = Choice { json, terminal, frames_per_second: config.output.frames_per_second };
    let tally = Arc::new(Tally::default());
    let about = About {
        object: config.outlets.object.clone(),
        repository: Some(config.repository.url.to_string()),
        operations: call.operations.iter().map(|operation| operation.name()).collect(),
        dry_run: config.run.dry_run,
        secrets: config.secrets(),
    };
    let (meter, counted) =
        (Arc::clone(&tally), report::select(choice, Arc::clone(sinks), Arc::clone(&clock)));
    let collector = Collector::new(counted, Arc::clone(&clock), about, Box::new(move || meter.traffic()));
    let outlets = Outlets::start(&config.outlets, &config.network, &collector);
    let ending = Ending::new(&collector, outlets, json, call);
    let outcome = start(config, call, warnings, &ending, clock, tally);
    ending.finish(outcome.err().as_ref(), DEADLINE)
}

/// A call that is not understood is summed up too: who waits for the object gets it.
fn sums_up(operations: &[Operation]) -> bool {
    operations.is_empty() || operations.iter().any(|operation| operation.sums_up())
}

fn start(
    config: &Config,
    call: &Call,
    warnings: &[String],
    ending: &Arc<Ending>,
    clock: Arc<dyn Clock>,
    tally: Arc<Tally>,
) -> Result<()> {
    let monitor: Arc<dyn Monitor> = Arc::<Collector>::clone(&ending.collector);
    let log = report::log::Log {
        monitor: Arc::clone(&monitor),
        clock: Arc::clone(&clock),
        secrets: config.secrets(),
    };
    report::log::start(&config.output.log_filter, log)?;
    for warning in warnings {
        monitor.warn(warning);
    }
    let interruption = Interruption::watch()?;
    let last = Arc::clone(ending);
    interruption.at_end(move |error| {
        let _ = last.finish(Some(error), DEADLINE / 2);
    });
    let around = Surroundings {
        clock,
        random: Arc::new(SystemRandom),
        monitor,
        stop: Arc::clone(interruption.stop()),
        tally,
    };
    sequence::run(config, &call.operations, &around, &interruption).map_err(|error| interruption.judge(error))
}

/// A container's runtime reads stdout and stderr apart, and the operator shows the end of what it read: what stdout
/// got before must be read before the cause is said.
const BEFORE_THE_CAUSE: Duration = Duration::from_millis(50);

/// How a run is told when it is over, by itself or because it would not end: once.
struct Ending {
    collector: Arc<Collector>,
    outlets: Mutex<Option<Outlets>>,
    /// The run's JSON ends with the summary.
    json: bool,
    personality: Personality,
}

impl Ending {
    fn new(collector: &Arc<Collector>, outlets: Outlets, json: bool, call: &Call) -> Arc<Self> {
        Arc::new(Self {
            collector: Arc::clone(collector),
            outlets: Mutex::new(Some(outlets)),
            json: json && sums_up(&call.operations),
            personality: call.personality,
        })
    }

    /// Tells everybody, and prints the line that an operator reads, last of all.
    fn finish(&self, error: Option<&Error>, deadline: Duration) -> ExitCode {
        let Some(outlets) = self.outlets.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            // Somebody else is at it, and ends the process when it is done.
            loop {
                std::thread::park();
            }
        };
        let error = error.cloned().map(Error::advised);
        self.collector.close(error.as_ref());
        let summary = self.collector.summary();
        if let Some(warning) = outlets.tell(&summary, deadline) {
            self.collector.warn(&warning);
        }
        for line in summary.text().lines() {
            tracing::debug!(target: "volmover::run", "{line}");
        }
        if self.json {
            self.collector.output(&summary.json());
        }
        let Some(error) = error else { return ExitCode::SUCCESS };
        if self.personality == Personality::Mover {
            std::thread::sleep(BEFORE_THE_CAUSE);
        }
        self.collector.failed(&error);
        ExitCode::from(error.kind.exit_code())
    }
}
