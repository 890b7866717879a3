//! Process entry: arguments and environment → configuration → operations → exit code.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use volmover::cli::{self, Call, CommandLine};
use volmover::clock::{Clock, SystemClock};
use volmover::config::env::{Lookup, Values, process_environment};
use volmover::config::limits::Limits;
use volmover::config::operation::Personality;
use volmover::config::secret::Secret;
use volmover::config::variables::MOVER_JSON;
use volmover::config::{self, Config};
use volmover::error::{Error, Result};
use volmover::random::SystemRandom;
use volmover::report::{self, Choice, Monitor, Sinks};
use volmover::sequence;
use volmover::signals::Interruption;
use volmover::stores::Surroundings;

fn main() -> ExitCode {
    let sinks = Sinks::standard();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    // Whoever fails before the configuration is known is heard as text.
    let plain = Choice { json: false, terminal: false, frames_per_second: None };
    let early = report::select(plain, Arc::clone(&sinks), Arc::clone(&clock));
    match cli::parse(std::env::args_os()) {
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
                let Refused { error, json, missing } = *refused;
                if call.personality == Personality::Tool && !json {
                    cli::first_steps(&missing).lines().for_each(|line| early.log(line));
                }
                let monitor = report::select(Choice { json, ..plain }, sinks, clock);
                fail(call.personality, monitor.as_ref(), &error)
            }
        },
        Err(error) => fail(Personality::Tool, early.as_ref(), &error),
    }
}

/// A configuration that is not valid, whether its `MOVER_JSON` is, and which variables it lacks.
struct Refused {
    error: Error,
    json: bool,
    missing: Vec<&'static str>,
}

fn configure(call: &Call) -> std::result::Result<(Config, Vec<String>), Box<Refused>> {
    let lookup = Lookup::new(call.options.clone(), process_environment()).map_err(|error| Refused {
        error,
        json: false,
        missing: Vec::new(),
    })?;
    let limits = Limits::of_this_process();
    match Config::parse(&lookup, call.personality, &call.operations, &limits) {
        Ok(config) => Ok((config, lookup.warnings())),
        Err(error) => Err(Box::new(Refused {
            error,
            json: lookup.flag(&MOVER_JSON, false).unwrap_or(false),
            missing: config::missing(&lookup),
        })),
    }
}

fn run(
    config: &Config,
    call: &Call,
    warnings: &[String],
    sinks: &Arc<Sinks>,
    clock: Arc<dyn Clock>,
) -> ExitCode {
    let terminal = std::io::stderr().is_terminal();
    let choice =
        Choice { json: config.output.json, terminal, frames_per_second: config.output.frames_per_second };
    let monitor = report::select(choice, Arc::clone(sinks), Arc::clone(&clock));
    let outcome = start(config, call, warnings, &monitor, clock);
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(call.personality, monitor.as_ref(), &error),
    }
}

fn start(
    config: &Config,
    call: &Call,
    warnings: &[String],
    monitor: &Arc<dyn Monitor>,
    clock: Arc<dyn Clock>,
) -> Result<()> {
    let log = report::log::Log {
        monitor: Arc::clone(monitor),
        clock: Arc::clone(&clock),
        secrets: config.secrets().map(Secret::text).collect(),
    };
    report::log::start(&config.output.log_filter, log)?;
    for warning in warnings {
        monitor.warn(warning);
    }
    let interruption = Interruption::watch()?;
    let around = Surroundings {
        clock,
        random: Arc::new(SystemRandom),
        monitor: Arc::clone(monitor),
        stop: Arc::clone(interruption.stop()),
    };
    sequence::run(config, &call.operations, &around, &interruption).map_err(|error| interruption.judge(error))
}

/// A container's runtime reads stdout and stderr apart, and the operator shows the end of what it read: what stdout
/// got before must be read before the cause is said.
const BEFORE_THE_CAUSE: Duration = Duration::from_millis(50);

fn fail(personality: Personality, monitor: &dyn Monitor, error: &Error) -> ExitCode {
    if personality == Personality::Mover {
        std::thread::sleep(BEFORE_THE_CAUSE);
    }
    monitor.failed(error);
    ExitCode::from(error.kind.exit_code())
}
