//! Where the repository's password comes from, and getting it.
//!
//! As restic: a command before a file before `RESTIC_PASSWORD`; command and file together are an error.
//! Output and file are trimmed, the variable is taken as it is. The command is split, not given to a shell;
//! what it writes to stderr is seen. The password is fetched when it is needed, not while parsing.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::env::{Lookup, invalid};
use super::secret::Secret;
use super::text_file;
use super::variables::{RESTIC_PASSWORD, RESTIC_PASSWORD_COMMAND, RESTIC_PASSWORD_FILE};
use crate::error::{Error, Result};

/// Where the password comes from.
#[derive(Clone, PartialEq, Eq)]
pub enum PasswordSource {
    /// A program with its arguments.
    Command(Vec<String>),
    /// A file.
    File(PathBuf),
    /// The variable itself.
    Given(Secret),
}

impl PasswordSource {
    /// Chooses the source.
    ///
    /// # Errors
    /// None is set, command and file are both set, the command cannot be split, `RESTIC_PASSWORD` is empty.
    pub fn parse(lookup: &Lookup) -> Result<Self> {
        let command = lookup.text(&RESTIC_PASSWORD_COMMAND)?;
        match (command, lookup.path(&RESTIC_PASSWORD_FILE)) {
            (Some(_), Some(_)) => Err(Error::usage("two sources for one password")
                .at("RESTIC_PASSWORD_COMMAND and RESTIC_PASSWORD_FILE")
                .then("Unset one of them")),
            (Some(command), None) => split(command)
                .map(Self::Command)
                .map_err(|accepted| invalid(&RESTIC_PASSWORD_COMMAND, command, accepted)),
            (None, Some(file)) => Ok(Self::File(file)),
            (None, None) => match lookup.raw(&RESTIC_PASSWORD) {
                Some(value) if value.is_empty() => Err(empty(RESTIC_PASSWORD.name)),
                Some(_) => lookup.secret(&RESTIC_PASSWORD).map(Self::Given).ok_or_else(missing),
                None => Err(missing()),
            },
        }
    }

    /// The password. Runs the command or reads the file.
    ///
    /// # Errors
    /// Usage errors that name the variable; never the password.
    pub fn fetch(&self) -> Result<Secret> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => {
                trimmed(RESTIC_PASSWORD_FILE.name, &text_file::read(&RESTIC_PASSWORD_FILE, path)?)
            }
            Self::Command(words) => trimmed(RESTIC_PASSWORD_COMMAND.name, &run(words)?),
        }
    }
}

impl fmt::Debug for PasswordSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Command(_) => "Command(***)",
            Self::File(_) => "File(***)",
            Self::Given(_) => "Given(***)",
        })
    }
}

fn missing() -> Error {
    Error::usage("no password for the repository")
        .then("Set RESTIC_PASSWORD, RESTIC_PASSWORD_FILE or RESTIC_PASSWORD_COMMAND")
}

fn empty(variable: &str) -> Error {
    Error::usage("an empty password is not allowed").at(variable)
}

fn trimmed(variable: &str, bytes: &[u8]) -> Result<Secret> {
    match text_file::trim(bytes) {
        [] => Err(empty(variable)),
        password => Ok(Secret::new(password.to_vec())),
    }
}

fn run(words: &[String]) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |cause: &dyn fmt::Display| {
        Error::usage("the password command failed").at(RESTIC_PASSWORD_COMMAND.name).because(cause)
    };
    let Some((program, arguments)) = words.split_first() else { return Err(failed(&"it is empty")) };
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| failed(&error))?;
    let stdout = Zeroizing::new(output.stdout);
    if output.status.success() { Ok(stdout) } else { Err(failed(&output.status)) }
}

/// Words of a command, by restic's rules: white space and unquoted backslashes part words, and so do quotes,
/// which are taken off (`a"b c"` is two words, `""` is none); a quote behind a backslash is an ordinary
/// character.
fn split(command: &str) -> Result<Vec<String>, &'static str> {
    let mut words = vec![String::new()];
    let mut quote = None;
    let mut before = ' ';
    for character in command.chars() {
        let parts = if before != '\\' && quote == Some(character) {
            quote = None;
            true
        } else if before != '\\' && quote.is_none() && matches!(character, '"' | '\'') {
            quote = Some(character);
            true
        } else {
            before = character;
            quote.is_none() && (character == '\\' || character.is_whitespace())
        };
        match words.last_mut() {
            Some(word) if !parts => word.push(character),
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    match (quote, words.is_empty()) {
        (Some(_), _) => Err("a command whose quotes end"),
        (None, true) => Err("a command"),
        (None, false) => Ok(words),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::ffi::OsString;

    use super::super::env::Values;
    use super::*;

    fn source(pairs: &[(&str, &str)]) -> Result<PasswordSource> {
        let environment =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        PasswordSource::parse(&Lookup::new(Values::new(), environment).unwrap())
    }

    fn fetched(pairs: &[(&str, &str)]) -> Result<Vec<u8>> {
        source(pairs)?.fetch().map(|secret| secret.bytes().to_vec())
    }

    #[test]
    fn a_command_goes_before_a_file_before_the_variable() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "\u{feff} from file \n\n").unwrap();
        let file = file.to_str().unwrap();
        let given = ("RESTIC_PASSWORD", " as it is ");
        assert_eq!(fetched(&[given]).unwrap(), b" as it is ");
        assert_eq!(fetched(&[given, ("RESTIC_PASSWORD_FILE", file)]).unwrap(), b"from file");
        let command = ("RESTIC_PASSWORD_COMMAND", "printf ' %s \\n' 'from command'");
        assert_eq!(fetched(&[given, command]).unwrap(), b"from command");
        let both = fetched(&[command, ("RESTIC_PASSWORD_FILE", file)]).unwrap_err();
        assert_eq!(both.kind.exit_code(), 2);
        assert!(both.to_string().contains("RESTIC_PASSWORD_COMMAND and RESTIC_PASSWORD_FILE"), "{both}");
    }

    #[test]
    fn failures_name_the_variable_and_no_value() {
        let cases: [(&[(&str, &str)], &str); 8] = [
            (&[], "no password for the repository. Set RESTIC_PASSWORD"),
            (&[("RESTIC_PASSWORD", "")], "an empty password is not allowed: RESTIC_PASSWORD"),
            (
                &[("RESTIC_PASSWORD_FILE", "/dev/null")],
                "an empty password is not allowed: RESTIC_PASSWORD_FILE",
            ),
            (&[("RESTIC_PASSWORD_FILE", "/nonexistent")], "RESTIC_PASSWORD_FILE=/nonexistent: No such file"),
            (
                &[("RESTIC_PASSWORD_COMMAND", "true")],
                "an empty password is not allowed: RESTIC_PASSWORD_COMMAND",
            ),
            (&[("RESTIC_PASSWORD_COMMAND", "false hunter2")], "RESTIC_PASSWORD_COMMAND: exit status: 1"),
            (&[("RESTIC_PASSWORD_COMMAND", "/nonexistent hunter2")], "RESTIC_PASSWORD_COMMAND: No such file"),
            (
                &[("RESTIC_PASSWORD_COMMAND", "echo 'hunter2")],
                "RESTIC_PASSWORD_COMMAND=***. Accepted: a command whose",
            ),
        ];
        for (pairs, expected) in cases {
            let error = fetched(pairs).unwrap_err();
            assert_eq!(error.kind.exit_code(), 2, "{expected}");
            let line = error.to_string();
            assert!(line.contains(expected) && !line.contains("hunter2"), "{expected}: {line}");
        }
    }

    #[test]
    fn words_as_restic_splits_them() {
        let cases: [(&str, &[&str]); 9] = [
            ("pass show x", &["pass", "show", "x"]),
            ("  a\t b\n", &["a", "b"]),
            ("sh -c 'echo \"a b\"'", &["sh", "-c", "echo \"a b\""]),
            ("a \"it's\" b", &["a", "it's", "b"]),
            ("a\"b c\"d", &["a", "b c", "d"]),
            ("a '' b", &["a", "b"]),
            ("a\\\"b", &["a", "\"b"]),
            ("'a\\'b'", &["a\\'b"]),
            ("a\\ b", &["a", "b"]),
        ];
        for (command, words) in cases {
            assert_eq!(split(command).unwrap(), words, "{command}");
        }
        for command in ["", " ", "''", "\\"] {
            assert_eq!(split(command), Err("a command"), "{command:?}");
        }
        for command in ["'a", "\"a", "a '"] {
            assert_eq!(split(command), Err("a command whose quotes end"), "{command}");
        }
    }

    #[test]
    fn prints_nothing() {
        for pairs in [("RESTIC_PASSWORD", "hunter2"), ("RESTIC_PASSWORD_COMMAND", "echo hunter2")] {
            assert!(!format!("{:?}", source(&[pairs]).unwrap()).contains("hunter2"));
        }
    }
}
