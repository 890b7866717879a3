//! What no tool can be much faster than, measured by turns with the tools: medians.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Outcome;
use super::corpus::{self, Corpus};
use super::measure;
use super::stages::Work;
use super::table::middle;
use super::targets::{COPY, FIND_AND_KEY, Floor, STAGES};
use super::tool::Step;

/// Floors by the steps that have one, in the order in which a round measures them.
const KINDS: [(Step, &str); 7] = [
    (Step::First, STAGES),
    (Step::Check, STAGES),
    (Step::Verify, STAGES),
    (Step::Restore, STAGES),
    (Step::Restore, COPY),
    (Step::Refill, STAGES),
    (Step::Unchanged, FIND_AND_KEY),
];

/// Seconds of every floor, one round a turn.
#[derive(Debug, Default)]
pub(super) struct Rounds(Vec<[f64; KINDS.len()]>);

impl Rounds {
    /// Measures all once. `packs` and `target` are made and removed.
    pub(super) fn measure(&mut self, corpus: &Corpus, packs: &Path, target: &Path) -> Outcome<()> {
        let source = corpus.folder.as_path();
        fs::create_dir_all(packs)?;
        let into_target = |command: Command| -> Outcome<f64> {
            fs::create_dir_all(target)?;
            let seconds = seconds(command)?;
            fs::remove_dir_all(target)?;
            Ok(seconds)
        };
        self.0.push([
            seconds(Work::Backup.command(source, packs)?)?,
            seconds(Work::Check.command(packs, target)?)?,
            seconds(Work::Verify.command(packs, target)?)?,
            into_target(Work::Restore.command(packs, target)?)?,
            into_target(copy(source, target))?,
            refill(source, packs, target)?,
            seconds(find(source))? + seconds(Work::Key.command(source, target)?)?,
        ]);
        Ok(fs::remove_dir_all(packs)?)
    }

    /// The medians.
    pub(super) fn floors(&self) -> Vec<Floor> {
        let median =
            |place: usize| middle(self.0.iter().filter_map(|round| round.get(place)).copied().collect());
        let floor = |(place, (step, name)): (usize, (Step, &'static str))| {
            Some(Floor { step: step.title(), name, seconds: median(place)? })
        };
        KINDS.into_iter().enumerate().filter_map(floor).collect()
    }
}

/// What a restore takes where all but one file of a hundred stands.
fn refill(source: &Path, packs: &Path, target: &Path) -> Outcome<f64> {
    measure::run(copy(source, target))?;
    let mut missing_bytes = 0;
    for path in corpus::hundredth(target)? {
        missing_bytes += fs::metadata(&path)?.len();
        fs::remove_file(path)?;
    }
    let mut command = Work::Refill.command(packs, target)?;
    command.arg(missing_bytes.to_string());
    let seconds = seconds(command)?;
    fs::remove_dir_all(target)?;
    Ok(seconds)
}

fn seconds(command: Command) -> Outcome<f64> {
    Ok(measure::run(command)?.wall.as_secs_f64())
}

fn find(source: &Path) -> Command {
    let mut command = Command::new("find");
    command.arg(source).args(["-printf", "%s %T@ %C@ %i\\n"]);
    command
}

fn copy(source: &Path, target: &Path) -> Command {
    let mut command = Command::new("cp");
    command.arg("-rT").args([source, target]);
    command
}
