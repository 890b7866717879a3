//! Options, environment and config directory → one `Lookup`: option > environment > config directory.
//!
//! `process_environment` is the only function that reads the process's variables; everything else gets a
//! map. A value that is set but empty counts as unset, so the next source is asked. Values are zeroed on
//! drop, for some are secrets, and none is ever printed from here unless its row of the table says so.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{ErrorKind as IoErrorKind, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroize;

use super::nearest;
use super::secret::Secret;
use super::values::{self, Parsed};
use super::variable::{Secrecy, Variable};
use super::variables::{ALL, MOVER_CONFIG_DIR};
use crate::error::{Error, Result};

/// Values by the names of their variables.
pub type Values = BTreeMap<String, OsString>;

/// The config directory when `MOVER_CONFIG_DIR` names none; it need not exist.
const CONFIG_DIR: &str = "/mnt/mover-config";
/// No value is longer.
const VALUE_BYTES_MAX: u64 = 1 << 20;
/// So much of a wrong value is shown.
const SHOWN_BYTES_MAX: usize = 80;

/// The process's environment: the one place that reads it. Names that are not UTF-8 are none of ours.
#[must_use]
pub fn process_environment() -> Values {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect()
}

/// The value of every variable, whatever its source.
pub struct Lookup {
    options: Values,
    environment: Values,
    directory: Values,
}

impl Lookup {
    /// Puts the sources together and reads the config directory that they name.
    ///
    /// # Errors
    /// A config directory that was named and is not there, or that cannot be read.
    pub fn new(options: Values, environment: Values) -> Result<Self> {
        let mut lookup = Self::without_directory(options, environment);
        lookup.directory = match lookup.path(&MOVER_CONFIG_DIR) {
            Some(directory) => read_directory(&directory)?
                .ok_or_else(|| directory_error(&directory, &directory, "it does not exist"))?,
            None => read_directory(Path::new(CONFIG_DIR))?.unwrap_or_default(),
        };
        Ok(lookup)
    }

    /// The sources without the config directory: for who must be told that it cannot be read.
    #[must_use]
    pub fn without_directory(options: Values, environment: Values) -> Self {
        Self { options, environment, directory: Values::new() }
    }

    /// Warnings about `MOVER_*` names that are not in the table, each with the name that may be meant.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let known = || ALL.iter().map(|variable| variable.name).filter(|name| name.starts_with("MOVER_"));
        let given = self.environment.keys().chain(self.directory.keys());
        let mut unknown: Vec<&String> =
            given.filter(|name| name.starts_with("MOVER_") && !known().any(|other| other == *name)).collect();
        unknown.sort_unstable();
        unknown.dedup();
        let candidates = || known().filter_map(|name| name.strip_prefix("MOVER_"));
        let warning = |name: &String| match nearest::of(name.strip_prefix("MOVER_")?, candidates()) {
            Some(near) => Some(format!("unknown variable {name} is ignored; did you mean MOVER_{near}?")),
            None => Some(format!("unknown variable {name} is ignored")),
        };
        unknown.into_iter().filter_map(warning).collect()
    }

    /// The first source's value, even when it is empty.
    #[must_use]
    pub fn raw(&self, variable: &Variable) -> Option<&OsStr> {
        self.found(variable).first().copied()
    }

    /// The value as it is; empty counts as unset.
    #[must_use]
    pub fn value(&self, variable: &Variable) -> Option<&OsStr> {
        self.found(variable).into_iter().find(|value| !value.is_empty())
    }

    /// The value as text.
    pub fn text(&self, variable: &Variable) -> Result<Option<&str>> {
        let Some(value) = self.value(variable) else { return Ok(None) };
        value.to_str().map(Some).ok_or_else(|| not_text(variable))
    }

    /// The value as the name of a file or directory.
    #[must_use]
    pub fn path(&self, variable: &Variable) -> Option<PathBuf> {
        self.value(variable).map(PathBuf::from)
    }

    /// The value as a secret.
    #[must_use]
    pub fn secret(&self, variable: &Variable) -> Option<Secret> {
        self.value(variable).map(|value| Secret::new(value.as_bytes().to_vec()))
    }

    /// The value, parsed; a refusal names the variable, its value and what is accepted.
    pub fn parse<T>(&self, variable: &Variable, parser: impl Fn(&str) -> Parsed<T>) -> Result<Option<T>> {
        let parse = |text: &str| parser(text).map_err(|accepted| invalid(variable, text, &accepted));
        self.text(variable)?.map(parse).transpose()
    }

    /// A boolean.
    pub fn flag(&self, variable: &Variable, default: bool) -> Result<bool> {
        Ok(self.parse(variable, values::boolean)?.unwrap_or(default))
    }

    /// The lines that are not blank, each as it stands.
    pub fn lines(&self, variable: &Variable) -> Result<Vec<String>> {
        let text = self.text(variable)?.unwrap_or_default();
        Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
    }

    /// The parts between commas, trimmed, without empty ones.
    pub fn commas(&self, variable: &Variable) -> Result<Vec<String>> {
        let parts = self.text(variable)?.unwrap_or_default().split([',', '\n']);
        Ok(parts.map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }

    /// A variable that is not ours: restic's exclude files may name any.
    #[must_use]
    pub fn foreign(&self, name: &str) -> Option<&OsStr> {
        self.environment.get(name).map(OsString::as_os_str)
    }

    /// All values, by source and name.
    fn found(&self, variable: &Variable) -> Vec<&OsStr> {
        let sources = [&self.options, &self.environment, &self.directory];
        let values =
            sources.into_iter().flat_map(|source| variable.names().filter_map(|name| source.get(name)));
        values.map(OsString::as_os_str).collect()
    }
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Lookup(***)")
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let sources = [&mut self.options, &mut self.environment, &mut self.directory];
        for value in sources.into_iter().flat_map(|source| source.values_mut()) {
            std::mem::take(value).into_vec().zeroize();
        }
    }
}

/// The error for a value that is not accepted; it shows the value unless it may hold a secret.
pub(super) fn invalid(variable: &Variable, value: &str, accepted: &str) -> Error {
    let shown = match variable.secrecy {
        Secrecy::Open => clip(value),
        Secrecy::Hidden | Secrecy::Secret => "***".to_owned(),
    };
    Error::usage("invalid value")
        .at(format!("{}={shown}", variable.name))
        .then(format!("Accepted: {accepted}"))
}

fn not_text(variable: &Variable) -> Error {
    Error::usage("invalid value").at(variable.name).because("it is not UTF-8")
}

/// The first bytes of `value`, without characters that would change a terminal.
fn clip(value: &str) -> String {
    let end = value.floor_char_boundary(SHOWN_BYTES_MAX);
    let (start, rest) = value.split_at_checked(end).unwrap_or((value, ""));
    let clean: String = start.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if rest.is_empty() { clean } else { clean + "…" }
}

/// Every file of ours in `directory`; none when it does not exist. Other names (`..data`, `ca.crt`) are
/// passed over unread.
fn read_directory(directory: &Path) -> Result<Option<Values>> {
    let failed = |path: &Path, cause: std::io::Error| directory_error(directory, path, cause);
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == IoErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(|error| failed(directory, error))?,
    };
    let mut values = Values::new();
    for entry in entries {
        let entry = entry.map_err(|error| failed(directory, error))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let known = ALL.iter().any(|variable| variable.names().any(|other| other == name));
        if known {
            let value = read_value(&entry.path()).map_err(|error| failed(&entry.path(), error))?;
            values.insert(name, value);
        } else if name.starts_with("MOVER_") {
            values.insert(name, OsString::new());
        }
    }
    Ok(Some(values))
}

/// The content without its final newline.
fn read_value(path: &Path) -> std::io::Result<OsString> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(VALUE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > VALUE_BYTES_MAX {
        return Err(std::io::Error::other("it is larger than 1 MiB"));
    }
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    Ok(OsString::from_vec(bytes))
}

fn directory_error(directory: &Path, path: &Path, cause: impl std::fmt::Display) -> Error {
    let next = format!("{} names {}", MOVER_CONFIG_DIR.name, directory.display());
    Error::usage("cannot read the config directory").at(path.display().to_string()).because(cause).then(next)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::variables::{
        AWS_SECRET_ACCESS_KEY, HTTPS_PROXY, MOVER_EXCLUDE, MOVER_EXCLUDE_CACHES, MOVER_HOST, MOVER_LOCK_WAIT,
        MOVER_TAGS, RESTIC_PASSWORD,
    };
    use super::*;

    fn values(pairs: &[(&str, &str)]) -> Values {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect()
    }

    /// A config directory as Kubernetes mounts a Secret, with an empty environment beside it.
    fn mounted(files: &[(&str, &[u8])], environment: &[(&str, &str)]) -> (tempfile::TempDir, Result<Lookup>) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("..data")).unwrap();
        for (name, content) in files {
            fs::write(folder.path().join("..data").join(name), content).unwrap();
            std::os::unix::fs::symlink(Path::new("..data").join(name), folder.path().join(name)).unwrap();
        }
        let mut environment = values(environment);
        environment.insert("MOVER_CONFIG_DIR".to_owned(), folder.path().into());
        (folder, Lookup::new(Values::new(), environment))
    }

    #[test]
    fn option_before_environment_before_directory() {
        let (folder, _) = mounted(&[("MOVER_HOST", b"directory")], &[]);
        let directory = folder.path().to_str().unwrap();
        let look = |option: &str, environment: &str| {
            let options = values(&[("MOVER_CONFIG_DIR", directory), ("MOVER_HOST", option)]);
            let lookup = Lookup::new(options, values(&[("MOVER_HOST", environment)])).unwrap();
            lookup.text(&MOVER_HOST).unwrap().unwrap().to_owned()
        };
        assert_eq!(look("option", "environment"), "option");
        assert_eq!(look("", "environment"), "environment");
        assert_eq!(look("", ""), "directory");
    }

    #[test]
    fn empty_is_unset_but_seen_raw() {
        let lookup =
            Lookup::new(Values::new(), values(&[("RESTIC_PASSWORD", ""), ("MOVER_HOST", "")])).unwrap();
        assert_eq!(lookup.raw(&RESTIC_PASSWORD), Some(OsStr::new("")));
        assert_eq!(lookup.value(&RESTIC_PASSWORD), None);
        assert_eq!(lookup.text(&MOVER_HOST), Ok(None));
        assert_eq!(lookup.raw(&AWS_SECRET_ACCESS_KEY), None);
    }

    #[test]
    fn a_directory_gives_values_without_the_final_newline() {
        let files: [(&str, &[u8]); 4] = [
            ("MOVER_EXCLUDE", b"*.tmp\n\n*.log\n"),
            ("RESTIC_PASSWORD", b" x \n\n"),
            ("MOVER_TAGS", b"a, b,,c"),
            ("ca.crt", b"none of ours"),
        ];
        let (_folder, lookup) = mounted(&files, &[]);
        let lookup = lookup.unwrap();
        assert_eq!(lookup.lines(&MOVER_EXCLUDE).unwrap(), ["*.tmp", "*.log"]);
        assert_eq!(lookup.secret(&RESTIC_PASSWORD).unwrap().bytes(), b" x \n");
        assert_eq!(lookup.commas(&MOVER_TAGS).unwrap(), ["a", "b", "c"]);
        assert_eq!(lookup.warnings(), Vec::<String>::new());
    }

    #[test]
    fn a_directory_that_is_named_must_be_readable() {
        let missing =
            Lookup::new(Values::new(), values(&[("MOVER_CONFIG_DIR", "/nonexistent")])).unwrap_err();
        assert_eq!(missing.kind.exit_code(), 2);
        assert!(
            missing.to_string().contains("/nonexistent: it does not exist. MOVER_CONFIG_DIR names"),
            "{missing}"
        );
        let file = Lookup::new(Values::new(), values(&[("MOVER_CONFIG_DIR", "/dev/null")])).unwrap_err();
        assert!(file.to_string().contains("Not a directory"), "{file}");
        let huge = vec![b'x'; 2 << 20];
        let (_folder, lookup) = mounted(&[("MOVER_HOST", &huge)], &[]);
        assert!(lookup.unwrap_err().to_string().contains("1 MiB"));
    }

    #[test]
    fn unknown_names_of_ours_are_warned_about() {
        let environment =
            [("MOVER_HOSTS", "x"), ("MOVER_FROBNICATE", ""), ("RESTIC_FOO", "x"), ("MOVER_HOST", "h")];
        let (_folder, lookup) = mounted(&[("MOVER_EXLUDE", b"x"), ("MOVER_HOSTS", b"y")], &environment);
        let expected = [
            "unknown variable MOVER_EXLUDE is ignored; did you mean MOVER_EXCLUDE?",
            "unknown variable MOVER_FROBNICATE is ignored",
            "unknown variable MOVER_HOSTS is ignored; did you mean MOVER_HOST?",
        ];
        assert_eq!(lookup.unwrap().warnings(), expected);
    }

    #[test]
    fn other_names_of_a_variable_count() {
        let environment = values(&[("EXCLUDE_CACHES", "true"), ("https_proxy", "http://p:1")]);
        let lookup = Lookup::new(Values::new(), environment).unwrap();
        assert_eq!(lookup.flag(&MOVER_EXCLUDE_CACHES, false), Ok(true));
        assert_eq!(lookup.text(&HTTPS_PROXY), Ok(Some("http://p:1")));
    }

    #[test]
    fn a_refusal_names_variable_value_and_what_is_accepted() {
        let environment = values(&[("MOVER_LOCK_WAIT", "5\u{1b}x")]);
        let lookup = Lookup::new(Values::new(), environment).unwrap();
        let error = lookup.parse(&MOVER_LOCK_WAIT, values::duration).unwrap_err();
        assert_eq!(error.kind.exit_code(), 2);
        let expected =
            "invalid value: MOVER_LOCK_WAIT=5\u{fffd}x. Accepted: a duration such as 90s, 5m, 2h30m or 7d";
        assert_eq!(error.to_string(), expected);
        let long = invalid(&MOVER_LOCK_WAIT, &"é".repeat(300), "x").to_string();
        assert!(long.len() < 200 && long.contains('…'), "{long}");
        let secret = invalid(&RESTIC_PASSWORD, "hunter2", "x").to_string();
        assert_eq!(secret, "invalid value: RESTIC_PASSWORD=***. Accepted: x");
        assert!(!invalid(&HTTPS_PROXY, "http://u:hunter2@p", "x").to_string().contains("hunter2"));
    }

    #[test]
    fn text_must_be_utf8_and_secrets_need_not() {
        let bytes = || OsString::from_vec(b"\xff\xfe".to_vec());
        let environment = [("MOVER_HOST".to_owned(), bytes()), ("RESTIC_PASSWORD".to_owned(), bytes())]
            .into_iter()
            .collect();
        let lookup = Lookup::new(Values::new(), environment).unwrap();
        let error = lookup.text(&MOVER_HOST).unwrap_err().to_string();
        assert_eq!(error, "invalid value: MOVER_HOST: it is not UTF-8");
        assert_eq!(lookup.secret(&RESTIC_PASSWORD).unwrap().bytes(), b"\xff\xfe");
        assert_eq!(format!("{lookup:?}"), "Lookup(***)");
    }

    #[test]
    fn the_process_has_an_environment() {
        assert!(process_environment().contains_key("PATH"));
    }
}
