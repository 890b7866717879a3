//! What no tool can be much faster than, measured beside the tools: medians of three by turns.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::Outcome;
use super::corpus::{self, Corpus};
use super::measure;
use super::stages::Work;
use super::targets::{COPY, FIND_AND_KEY, Floor, STAGES};
use super::tool::Step;

const ROUNDS: usize = 3;

/// The floors of all steps that have one. `packs` and `target` are made and removed.
pub(super) fn measure(corpus: &Corpus, packs: &Path, target: &Path) -> Outcome<Vec<Floor>> {
    let source = corpus.folder.as_path();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        fs::create_dir_all(packs)?;
        let into_target = |command: Command| -> Outcome<f64> {
            fs::create_dir_all(target)?;
            let seconds = seconds(command)?;
            fs::remove_dir_all(target)?;
            Ok(seconds)
        };
        rounds.push([
            seconds(Work::Backup.command(source, packs)?)?,
            seconds(Work::Check.command(packs, target)?)?,
            seconds(Work::Verify.command(packs, target)?)?,
            into_target(Work::Restore.command(packs, target)?)?,
            into_target(copy(source, target))?,
            refill(source, packs, target)?,
            seconds(find(source))? + seconds(Work::Key.command(source, target)?)?,
        ]);
        fs::remove_dir_all(packs)?;
    }
    let kinds = [
        (Step::First, STAGES),
        (Step::Check, STAGES),
        (Step::Verify, STAGES),
        (Step::Restore, STAGES),
        (Step::Restore, COPY),
        (Step::Refill, STAGES),
        (Step::Unchanged, FIND_AND_KEY),
    ];
    let median = |place: usize| {
        let mut seconds: Vec<f64> = rounds.iter().filter_map(|round| round.get(place)).copied().collect();
        seconds.sort_by(f64::total_cmp);
        seconds.get(ROUNDS / 2).copied().unwrap_or_default()
    };
    let floor = |(place, (step, name)): (usize, (Step, &'static str))| Floor {
        step: step.title(),
        name,
        seconds: median(place),
    };
    Ok(kinds.into_iter().enumerate().map(floor).collect())
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
