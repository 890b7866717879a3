//! What is different when `VolSync`'s operator starts the program, as `/mover-restic/entry.sh`.
//!
//! The operator keeps those lines of the log that its filter knows and shows them as the status of the object:
//! the words here are contract, to the letter. `volmover` runs the same sequence without them. It gives the
//! mover one of two security contexts and says which (`PRIVILEGED_MOVER`); what the process really may do is
//! asked of the kernel.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use rustix::thread::CapabilitySet;

use crate::config::operation::Personality;
use crate::report::Monitor;

/// A line that the mover prints and the tool does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// The repository was missing and is created.
    InitializeDir,
    /// The options of the restore that begins.
    RestoreOptions {
        /// `RESTORE_OPTIONS` is `--delete`.
        delete: bool,
    },
    /// No snapshot is eligible.
    NothingRestored,
    /// All operations are done, after this time.
    Completed(Duration),
    /// The last line of a run that did not fail.
    Done,
}

impl fmt::Display for Line {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InitializeDir => formatter.write_str("=== Initialize Dir ==="),
            Self::RestoreOptions { delete: true } => formatter.write_str("RESTORE_OPTIONS: --delete"),
            Self::RestoreOptions { delete: false } => formatter.write_str("RESTORE_OPTIONS: "),
            Self::NothingRestored => formatter.write_str("=== No data will be restored ==="),
            Self::Completed(took) => write!(formatter, "Restic completed in {}s", took.as_secs()),
            Self::Done => formatter.write_str("=== Done ==="),
        }
    }
}

/// Prints a line, as the mover.
pub fn say(personality: Personality, monitor: &dyn Monitor, line: Line) {
    if personality == Personality::Mover {
        monitor.line(&line.to_string());
    }
}

/// What the line `restoring … to` calls the target: the operator's mover restores in its working directory.
#[must_use]
pub fn target_name(personality: Personality, target: &Path) -> String {
    match personality {
        Personality::Mover => ".".to_owned(),
        Personality::Tool => target.display().to_string(),
    }
}

/// A warning for a mover that is said to be privileged and is not. Nothing else follows from it: a restore
/// sets what it may set.
#[must_use]
pub fn lacking(privileged: bool) -> Option<String> {
    let sets = rustix::thread::capabilities(None).ok()?;
    missing(privileged, sets.effective)
}

fn missing(privileged: bool, effective: CapabilitySet) -> Option<String> {
    let wanted = [
        ("CHOWN", CapabilitySet::CHOWN),
        ("DAC_OVERRIDE", CapabilitySet::DAC_OVERRIDE),
        ("FOWNER", CapabilitySet::FOWNER),
    ];
    let names: Vec<&str> =
        wanted.iter().filter(|(_, one)| !effective.contains(*one)).map(|(name, _)| *name).collect();
    (privileged && !names.is_empty()).then(|| {
        let names = names.join(", ");
        format!("PRIVILEGED_MOVER is set, but this process lacks {names}: it does what it may")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::RecordingMonitor;

    #[test]
    fn the_lines_are_the_mover_s_alone() {
        let all = [
            (Line::InitializeDir, "=== Initialize Dir ==="),
            (Line::RestoreOptions { delete: true }, "RESTORE_OPTIONS: --delete"),
            (Line::RestoreOptions { delete: false }, "RESTORE_OPTIONS: "),
            (Line::NothingRestored, "=== No data will be restored ==="),
            (Line::Completed(Duration::from_millis(61_999)), "Restic completed in 61s"),
            (Line::Done, "=== Done ==="),
        ];
        let (mover, tool) = (RecordingMonitor::default(), RecordingMonitor::default());
        for (line, text) in all {
            assert_eq!(line.to_string(), text);
            say(Personality::Mover, &mover, line);
            say(Personality::Tool, &tool, line);
        }
        assert_eq!(mover.lines(), all.map(|(_, text)| text));
        assert!(tool.lines().is_empty());
    }

    #[test]
    fn a_privileged_mover_without_its_capabilities_is_told() {
        let all = CapabilitySet::CHOWN | CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER;
        assert_eq!(missing(true, all), None);
        assert_eq!(missing(false, CapabilitySet::empty()), None);
        let text = missing(true, CapabilitySet::DAC_OVERRIDE).unwrap_or_default();
        assert!(text.contains("lacks CHOWN, FOWNER: "), "{text}");
    }
}
