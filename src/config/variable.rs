//! What is known of a variable: its row of the table in `variables.rs`.
//!
//! Rows are made by `const` builders, so a row reads as a sentence and costs nothing at run time.

use super::operation::{OPERATIONS, Operation};

/// One variable that volmover reads.
#[derive(Debug)]
pub struct Variable {
    /// Its name in the environment and in the config directory.
    pub name: &'static str,
    /// Other names of the same variable, read after `name`.
    pub also: &'static [&'static str],
    /// Where the help shows it.
    pub group: Group,
    /// How a value is written.
    pub shape: Shape,
    /// A word for the value, as the help shows it; empty for a flag.
    pub placeholder: &'static str,
    /// What it is for, in one line.
    pub meaning: &'static str,
    /// The default in words; empty: none.
    pub default: &'static str,
    /// The long option; secrets and the machine's own variables have none.
    pub option: Option<&'static str>,
    /// The one-letter option.
    pub short: Option<char>,
    /// Who may see its value.
    pub secrecy: Secrecy,
    /// The operations that read it.
    pub operations: &'static [Operation],
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A boolean; its option needs no value.
    Flag,
    /// One value.
    One,
    /// One value a line; its option may be given again.
    Lines,
    /// Values separated by commas; its option may be given again.
    Commas,
}

/// Who may see a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// Everybody.
    Open,
    /// It may hold credentials, so no message shows it; it has an option, for values that hold none.
    Hidden,
    /// Nobody. It has no option, because every process of a machine can read command lines.
    Secret,
}

/// Where the help shows a variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// The repository, its password and its cache.
    Repository,
    /// Host, path, tags and the choice of a snapshot.
    Selection,
    /// What backup saves and leaves out.
    Backup,
    /// How restore writes.
    Restore,
    /// What forget, prune, check, unlock and repair do.
    Maintenance,
    /// What verify asks of a snapshot.
    Verify,
    /// How a run behaves.
    Run,
    /// What a run may use.
    Performance,
    /// What a run prints.
    Output,
    /// Who else is told of a run.
    Outlets,
    /// Certificates and proxies.
    Network,
    /// S3 and its credentials.
    S3,
    /// What only the `VolSync` operator sets.
    VolSync,
    /// What the machine sets.
    Machine,
}

impl Group {
    /// All groups, in the order of the help.
    pub const ALL: [Self; 14] = [
        Self::Repository,
        Self::Selection,
        Self::Backup,
        Self::Restore,
        Self::Maintenance,
        Self::Verify,
        Self::Run,
        Self::Performance,
        Self::Output,
        Self::Outlets,
        Self::Network,
        Self::S3,
        Self::VolSync,
        Self::Machine,
    ];

    /// The heading.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Repository => "Repository and password",
            Self::Selection => "Host, path and snapshot",
            Self::Backup => "Backup",
            Self::Restore => "Restore",
            Self::Maintenance => "Maintenance",
            Self::Verify => "Verify",
            Self::Run => "Run",
            Self::Performance => "Performance",
            Self::Output => "Output",
            Self::Outlets => "Summary, metrics and messages",
            Self::Network => "TLS and HTTP",
            Self::S3 => "S3",
            Self::VolSync => "As VolSync sets them",
            Self::Machine => "Of the machine",
        }
    }
}

impl Variable {
    const fn row(group: Group, shape: Shape, placeholder: &'static str, meaning: &'static str) -> Self {
        Self {
            name: "",
            also: &[],
            group,
            shape,
            placeholder,
            meaning,
            default: "",
            option: None,
            short: None,
            secrecy: Secrecy::Open,
            operations: &OPERATIONS,
        }
    }

    pub(super) const fn flag(group: Group, meaning: &'static str) -> Self {
        Self::row(group, Shape::Flag, "", meaning)
    }

    pub(super) const fn one(group: Group, placeholder: &'static str, meaning: &'static str) -> Self {
        Self::row(group, Shape::One, placeholder, meaning)
    }

    pub(super) const fn lines(group: Group, placeholder: &'static str, meaning: &'static str) -> Self {
        Self::row(group, Shape::Lines, placeholder, meaning)
    }

    pub(super) const fn commas(group: Group, placeholder: &'static str, meaning: &'static str) -> Self {
        Self::row(group, Shape::Commas, placeholder, meaning)
    }

    pub(super) const fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    pub(super) const fn also(mut self, names: &'static [&'static str]) -> Self {
        self.also = names;
        self
    }

    pub(super) const fn default(mut self, words: &'static str) -> Self {
        self.default = words;
        self
    }

    pub(super) const fn option(mut self, name: &'static str) -> Self {
        self.option = Some(name);
        self
    }

    pub(super) const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    pub(super) const fn secret(mut self) -> Self {
        self.secrecy = Secrecy::Secret;
        self
    }

    pub(super) const fn hidden(mut self) -> Self {
        self.secrecy = Secrecy::Hidden;
        self
    }

    pub(super) const fn only(mut self, operations: &'static [Operation]) -> Self {
        self.operations = operations;
        self
    }

    /// All its names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(self.name).chain(self.also.iter().copied())
    }
}
