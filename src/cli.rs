//! The command line: `volmover [OPTIONS] OPERATION...`, made from the table of variables.
//!
//! An option is another way to write a variable, so it has no meaning, check or default of its own: what is
//! parsed here is a map of values for `config::env::Lookup`. Secrets have no option, because every process
//! of a machine can read command lines. Operations are checked before anything runs.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind as ClapErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::env::Values;
use crate::config::operation::{OPERATIONS, Operation, Personality};
use crate::config::variable::{Group, Secrecy, Shape, Variable};
use crate::config::variables::ALL;
use crate::error::{Error, ErrorKind, Result};
use crate::version;

/// What a command line asks for.
#[derive(Debug)]
pub enum CommandLine {
    /// A run.
    Run(Call),
    /// A text for stdout and the exit code that goes with it.
    Show {
        /// The text, ending with a newline.
        text: String,
        /// 0, or 2 where an operation is missing.
        exit_code: u8,
    },
}

/// A run: who is called, what for, with which options.
#[derive(Debug)]
pub struct Call {
    /// As whom the program was called.
    pub personality: Personality,
    /// The operations in the order given; at least one.
    pub operations: Vec<Operation>,
    /// The values of options, by the names of their variables.
    pub options: Values,
}

/// Parses the arguments, the program's name first.
///
/// # Errors
/// A usage error for an unknown option or operation.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<CommandLine> {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let program = arguments.first().map(OsString::as_os_str).unwrap_or_default();
    let personality = Personality::of(Path::new(program));
    let asks = |option: &str| arguments.iter().skip(1).any(|argument| argument == option);
    if asks("--verbose") && (asks("--version") || asks("-V")) {
        return Ok(CommandLine::Show { text: version::verbose(), exit_code: 0 });
    }
    let rest = arguments.iter().skip(1).map(OsString::as_os_str);
    let matches = match command().try_get_matches_from(std::iter::once(OsStr::new("volmover")).chain(rest)) {
        Ok(matches) => matches,
        Err(error) if error.exit_code() == 0 => {
            return Ok(CommandLine::Show { text: error.render().to_string(), exit_code: 0 });
        }
        Err(error) => return Err(usage(&error)),
    };
    let names: Vec<String> = matches
        .get_many::<OsString>(OPERATION)
        .into_iter()
        .flatten()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    match names.split_first() {
        None => Ok(CommandLine::Show { text: help(), exit_code: ErrorKind::Usage.exit_code() }),
        Some((first, topics)) if first == "help" => topic(topics),
        Some(_) => {
            let operations = names.iter().map(|name| Operation::parse(name)).collect::<Result<_>>()?;
            Ok(CommandLine::Run(Call { personality, operations, options: options(&matches) }))
        }
    }
}

/// What someone reads who has set nothing yet: which variables are missing, and one complete example. Nothing
/// for everybody else.
#[must_use]
pub fn first_steps(missing: &[&str]) -> String {
    if missing.is_empty() {
        return String::new();
    }
    format!(
        "\nNot set: {}. A complete example, with a repository in a folder:\n\n{EXAMPLE}\n",
        missing.join(", ")
    )
}

const EXAMPLE: &str = "  mkdir repository && export RESTIC_PASSWORD=choose-one
  docker run --rm --user \"$(id -u):$(id -g)\" -v \"$HOME/documents:/data:ro\" -v \"$PWD/repository:/repository\" \\
    -e RESTIC_REPOSITORY=/repository -e RESTIC_PASSWORD volmover backup snapshots";

const OPERATION: &str = "OPERATION";

fn command() -> Command {
    let operations = Arg::new(OPERATION).num_args(0..).value_parser(value_parser!(OsString)).hide(true);
    Command::new("volmover")
        .about("Backs up volumes into restic repositories, and restores them")
        .version(version::LINE.as_str())
        .override_usage("volmover [OPTIONS] OPERATION...\n       volmover help OPERATION")
        .help_template(format!(
            "{{about}}\n\n{{usage-heading}} {{usage}}\n\n{}\n{{all-args}}{{after-help}}",
            about_operations()
        ))
        .after_help(after_help())
        .max_term_width(110)
        .next_line_help(true)
        .arg(operations)
        .args(ALL.iter().filter_map(|variable| option(variable)))
}

/// The option of a variable, if it has one.
fn option(variable: &'static Variable) -> Option<Arg> {
    let name = variable.option?;
    let arg = Arg::new(variable.name)
        .long(name)
        .help(format!("{} {}", sentence(variable), note(variable)))
        .help_heading(variable.group.title())
        .value_parser(value_parser!(OsString));
    let arg = match variable.short {
        Some(letter) => arg.short(letter),
        None => arg,
    };
    Some(match variable.shape {
        Shape::Flag => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_name("true|false")
            .overrides_with(variable.name),
        Shape::One => {
            arg.action(ArgAction::Set).value_name(variable.placeholder).overrides_with(variable.name)
        }
        Shape::Lines | Shape::Commas => arg.action(ArgAction::Append).value_name(variable.placeholder),
    })
}

/// The meaning with a capital letter, where it begins with a plain word.
fn sentence(variable: &Variable) -> String {
    let word = variable.meaning.split(' ').next().unwrap_or_default();
    let mut letters = variable.meaning.chars();
    match letters.next() {
        Some(first) if word.bytes().all(|byte| byte.is_ascii_lowercase()) => {
            first.to_ascii_uppercase().to_string() + letters.as_str()
        }
        _ => variable.meaning.to_owned(),
    }
}

/// `[NAME, OTHER_NAME] [default: …]`
fn note(variable: &Variable) -> String {
    let names: Vec<&str> = variable.names().collect();
    match variable.default {
        "" => format!("[{}]", names.join(", ")),
        default => format!("[{}] [default: {default}]", names.join(", ")),
    }
}

fn help() -> String {
    command().render_help().to_string()
}

fn about_operations() -> String {
    let mut text = "Operations run in the order given; the first that fails ends the run:\n".to_owned();
    for operation in OPERATIONS {
        let _ = writeln!(text, "  {:<10} {}", operation.name(), operation.about());
    }
    text
}

/// Precedence, variables without options, exit codes.
fn after_help() -> String {
    let mut text = String::from(
        "Every option has a variable, named in brackets. An option goes before the environment, before the\n\
         config directory (MOVER_CONFIG_DIR), before the default. A variable that is set but empty counts as unset.\n\
         \nVariables without an option, because every process can read command lines:\n",
    );
    list(&mut text, |variable| variable.secrecy == Secrecy::Secret);
    text.push_str("\nVariables of the machine:\n");
    list(&mut text, |variable| variable.group == Group::Machine);
    text.push_str("\nExit codes:\n  0    done\n");
    for kind in ErrorKind::ALL {
        let _ = writeln!(text, "  {:<4} {}", kind.exit_code(), kind.meaning().replace('`', ""));
    }
    text.trim_end().to_owned()
}

fn list(text: &mut String, wanted: impl Fn(&Variable) -> bool) {
    for variable in ALL.iter().filter(|variable| wanted(variable)) {
        let _ = writeln!(text, "  {}: {}", variable.names().collect::<Vec<_>>().join(", "), variable.meaning);
    }
}

/// `volmover help` and `volmover help OPERATION`.
fn topic(topics: &[String]) -> Result<CommandLine> {
    let Some(name) = topics.first() else { return Ok(CommandLine::Show { text: help(), exit_code: 0 }) };
    let operation = Operation::parse(name)?;
    let mut text = format!("volmover [OPTIONS] {name}\n\n{}\n", operation.about());
    for group in Group::ALL {
        let of_group =
            |variable: &&&Variable| variable.group == group && variable.operations.contains(&operation);
        let mut variables = ALL.iter().filter(of_group).peekable();
        if variables.peek().is_some() {
            let _ = writeln!(text, "\n{}:", group.title());
        }
        for variable in variables {
            let option = variable.option.map_or_else(String::new, |option| format!("--{option}, "));
            let default = match variable.default {
                "" => String::new(),
                default => format!(" [default: {default}]"),
            };
            let names = variable.names().collect::<Vec<_>>().join(", ");
            let _ = writeln!(text, "  {option}{names}\n          {}{default}", sentence(variable));
        }
    }
    Ok(CommandLine::Show { text, exit_code: 0 })
}

/// The values of all options that were given.
fn options(matches: &ArgMatches) -> Values {
    let mut values = BTreeMap::new();
    for variable in ALL.iter().filter(|variable| variable.option.is_some()) {
        let between = if variable.shape == Shape::Commas { "," } else { "\n" };
        let given: Vec<&OsStr> = matches
            .get_many::<OsString>(variable.name)
            .into_iter()
            .flatten()
            .map(OsString::as_os_str)
            .collect();
        if !given.is_empty() {
            values.insert(variable.name.to_owned(), given.join(OsStr::new(between)));
        }
    }
    values
}

/// clap's error in one line, without values.
fn usage(error: &clap::Error) -> Error {
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let option = context(ContextKind::InvalidArg).unwrap_or_default();
    let what = match error.kind() {
        ClapErrorKind::UnknownArgument => "unknown option",
        ClapErrorKind::InvalidValue | ClapErrorKind::TooFewValues | ClapErrorKind::NoEquals => {
            "option without a value"
        }
        ClapErrorKind::TooManyValues => "option with a value too many",
        _ => "wrong use of an option",
    };
    let option = option.split_once('=').map_or(option.as_str(), |(name, _)| name).to_owned();
    let next = match context(ContextKind::SuggestedArg) {
        Some(near) => format!("Did you mean {near}? volmover --help lists the options"),
        None => "volmover --help lists the options".to_owned(),
    };
    Error::usage(what).at(option).then(next)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::config::variables::{MOVER_EXCLUDE, MOVER_TAGS};

    fn parsed(arguments: &[&str]) -> Result<CommandLine> {
        parse(arguments.iter().map(OsString::from))
    }

    fn call(arguments: &[&str]) -> Call {
        match parsed(&[&["volmover"], arguments].concat()).unwrap() {
            CommandLine::Run(call) => call,
            CommandLine::Show { text, .. } => panic!("{text}"),
        }
    }

    fn shown(arguments: &[&str]) -> (String, u8) {
        match parsed(&[&["volmover"], arguments].concat()).unwrap() {
            CommandLine::Show { text, exit_code } => (text, exit_code),
            CommandLine::Run(call) => panic!("{call:?}"),
        }
    }

    fn refused(arguments: &[&str]) -> String {
        let error = parsed(&[&["volmover"], arguments].concat()).unwrap_err();
        assert_eq!(error.kind.exit_code(), 2);
        error.to_string()
    }

    #[test]
    fn clap_accepts_the_table() {
        command().debug_assert();
    }

    #[test]
    fn operations_in_order_and_options_anywhere() {
        let call = call(&["--host", "h", "init", "--json", "backup", "-r/srv/repo", "snapshots", "backup"]);
        let names: Vec<&str> = call.operations.iter().map(|operation| operation.name()).collect();
        assert_eq!(names, ["init", "backup", "snapshots", "backup"]);
        assert_eq!(call.personality, Personality::Tool);
        let options: Vec<(&str, &str)> =
            call.options.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(
            options,
            [("MOVER_HOST", "h"), ("MOVER_JSON", "true"), ("RESTIC_REPOSITORY", "/srv/repo")]
        );
    }

    #[test]
    fn called_as_the_mover() {
        let CommandLine::Run(call) = parsed(&["/mover-restic/entry.sh", "backup"]).unwrap() else { panic!() };
        assert_eq!(call.personality, Personality::Mover);
    }

    #[test]
    fn every_option_reaches_its_variable() {
        for variable in ALL.iter().filter(|variable| variable.option.is_some()) {
            let argument = format!("--{}=-x y", variable.option.unwrap());
            let call = call(&[&argument, "backup"]);
            assert_eq!(call.options.len(), 1);
            assert_eq!(call.options.get(variable.name).unwrap(), "-x y", "{argument}");
        }
    }

    #[test]
    fn options_given_again() {
        let call = call(&[
            "--exclude",
            "a",
            "-e",
            "b,c",
            "--tags=x",
            "--tags=y,z",
            "--host=1",
            "--host=2",
            "backup",
        ]);
        assert_eq!(call.options.get(MOVER_EXCLUDE.name).unwrap(), "a\nb,c");
        assert_eq!(call.options.get(MOVER_TAGS.name).unwrap(), "x,y,z");
        assert_eq!(call.options.get("MOVER_HOST").unwrap(), "2");
    }

    #[test]
    fn flags_need_no_value() {
        let value = |argument| call(&[argument, "backup"]).options.into_values().next().unwrap();
        assert_eq!(value("--sparse"), "true");
        assert_eq!(value("--sparse=off"), "off");
        assert_eq!(value("-n"), "true");
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(refused(&["frobnicate"]).split('.').next(), Some("unknown operation: frobnicate"));
        assert!(
            refused(&["--hots", "x", "backup"]).starts_with("unknown option: --hots. Did you mean --host?")
        );
        assert!(refused(&["--password", "hunter2", "backup"]).starts_with("unknown option: --password. "));
        assert!(refused(&["backup", "--host"]).starts_with("option without a value: --host"));
        let secret = refused(&["--restic-password=hunter2", "backup"]);
        assert!(
            secret.starts_with("unknown option: --restic-password. ") && !secret.contains("hunter2"),
            "{secret}"
        );
    }

    #[test]
    fn the_help_names_every_option_and_variable() {
        let (text, exit_code) = shown(&["--help"]);
        assert_eq!(exit_code, 0);
        for variable in ALL {
            assert!(variable.names().all(|name| text.contains(name)), "{}", variable.name);
            assert!(
                variable.option.is_none_or(|option| text.contains(&format!("--{option}"))),
                "{}",
                variable.name
            );
        }
        for group in Group::ALL.iter().filter(|group| **group != Group::Machine) {
            assert!(text.contains(&format!("{}:", group.title())));
        }
        assert_eq!(shown(&["help"]).0, shown(&["--help"]).0);
        assert_eq!(shown(&[]), (text, 2));
    }

    #[test]
    fn help_of_one_operation_has_its_variables_alone() {
        let (text, exit_code) = shown(&["help", "restore"]);
        assert_eq!(exit_code, 0);
        assert!(text.contains("MOVER_OVERWRITE") && !text.contains("MOVER_EXCLUDE"), "{text}");
        assert!(refused(&["help", "x"]).starts_with("unknown operation: x"));
    }

    #[test]
    fn the_version_names_target_and_format() {
        let (text, exit_code) = shown(&["--version"]);
        assert_eq!(exit_code, 0);
        assert!(text.starts_with("volmover 0."), "{text}");
        assert!(text.contains(std::env::consts::ARCH) && text.ends_with("repository version 2\n"), "{text}");
        let (verbose, exit_code) = shown(&["--version", "--verbose"]);
        assert!(exit_code == 0 && verbose.starts_with(&text) && verbose.contains("\nzstd-sys "), "{verbose}");
    }
}
