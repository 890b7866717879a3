//! Random sequences of operations, each by restic or by ours: 20, and 200 at the long scale.

use std::sync::Mutex;

use crate::place::Place;
use crate::support::dice::Dice;
use crate::support::scaled;
use crate::world::{World, ok};

/// Operations of one sequence.
const STEPS: usize = 7;
/// Sequences that run at once.
const AT_ONCE: usize = 3;

/// A step, by restic (of either version) or by ours.
#[derive(Debug, Clone, Copy)]
enum Step {
    Backup { source: usize },
    Forget { keep: usize, prune: bool },
    Prune { everything: bool },
    Check,
}

impl Dice {
    fn step(&mut self, sources: usize) -> Step {
        match self.below(10) {
            0..=4 => Step::Backup { source: self.below(sources) },
            5 => Step::Forget { keep: 1 + self.below(2), prune: false },
            6 => Step::Forget { keep: 1 + self.below(2), prune: true },
            7 | 8 => Step::Prune { everything: self.below(2) == 0 },
            _ => Step::Check,
        }
    }
}

#[test]
fn in_a_folder() {
    each(seeds(12), |seed| run(Place::folder(2), seed));
}

#[test]
fn in_a_folder_version_1() {
    each(seeds(2), |seed| run(Place::folder(1), seed));
}

#[test]
fn in_minio() {
    let Some(minio) = Place::empty_minio() else { return };
    each(seeds(6), |seed| run(minio.beside(&format!("sequence/{seed}")).with_repository(2), seed));
}

/// Some at once: most of a sequence is waiting for locks to settle.
fn each(seeds: impl Iterator<Item = u64> + Send, run: impl Fn(u64) + Sync) {
    let seeds = Mutex::new(seeds);
    let next = || seeds.lock().unwrap().next();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(seed) = next() {
                    run(seed);
                }
            });
        }
    });
}

/// As many different seeds as the scale asks for.
fn seeds(base: usize) -> impl Iterator<Item = u64> {
    let start = u64::from(std::process::id());
    (0..scaled(base) as u64).map(move |number| (start << 20) + number + 1)
}

fn run(place: Place, seed: u64) {
    let name = place.name;
    let Some(mut world) = World::new(place, 2) else { return };
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut told = format!("seed {seed} in {name}");
    for source in 0..2 {
        step(&mut world, Step::Backup { source }, source == 0, &mut told);
    }
    for _ in 0..STEPS {
        let next = dice.step(world.sources.len());
        step(&mut world, next, dice.below(2) == 0, &mut told);
    }
    world.assert_restores(&told);
}

fn step(world: &mut World, step: Step, is_ours: bool, told: &mut String) {
    use std::fmt::Write;
    let _ = write!(told, ", {step:?} by {}", if is_ours { "ours" } else { "restic" });
    match step {
        Step::Backup { source } => {
            world.change(source);
            if is_ours {
                ok(world.our_backup(source), told);
            } else {
                world.restics[1].backup(world.sources[source].path(), &[]);
            }
            world.note(source, told);
        }
        Step::Forget { keep, prune } => {
            world.keep_last(keep);
            let mut options = vec!["--keep-last".to_owned(), keep.to_string()];
            options.extend(prune.then(|| "--prune".to_owned()));
            by(world, is_ours, "forget", &options, Some(("FORGET_OPTIONS", &options.join(" "))), told);
        }
        Step::Prune { everything } => {
            let unused = if everything { "0" } else { "5%" };
            let options = ["--max-unused".to_owned(), unused.to_owned()];
            by(world, is_ours, "prune", &options, Some(("MOVER_PRUNE_MAX_UNUSED", unused)), told);
        }
        Step::Check => {
            by(
                world,
                is_ours,
                "check",
                &["--read-data".to_owned()],
                Some(("MOVER_CHECK_READ_DATA", "1")),
                told,
            );
        }
    }
    world.assert_sound(told);
    if matches!(step, Step::Prune { .. } | Step::Forget { prune: true, .. }) {
        world.assert_restores(told);
    }
}

/// An operation that has one name in both programs.
fn by(
    world: &World,
    is_ours: bool,
    operation: &str,
    options: &[String],
    variable: Option<(&str, &str)>,
    told: &str,
) {
    if is_ours {
        let mut command = world.ours(operation);
        command.envs(variable);
        ok(command, told);
    } else {
        let mut arguments = vec![operation];
        arguments.extend(options.iter().map(String::as_str));
        world.restics[0].ok(&arguments);
    }
}
