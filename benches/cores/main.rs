//! What a second processor is good for: volmover on one processor, on two, and with four threads on two.
//!
//! By turns: a first backup, a check of all data and a restore, and beside them the same stages with nothing around
//! them (`../whole/stages.rs`), which tell what the machine itself gives: two processors may be threads of one core.
//! Medians go to stdout, every single run into `cores.csv`. `benches/README.md` says which variables steer it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to its caller")]

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use corpus::Corpus;
use measure::Measured;
use program::Tool;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use settings::{Settings, StoreKind};
use stages::Work;
use store::Store;
use tool::{Place, Step};

#[path = "../whole/corpus.rs"]
#[allow(dead_code, reason = "nothing changes here")]
mod corpus;
#[path = "../../tests/support/proxy.rs"]
mod line;
#[path = "../whole/measure.rs"]
mod measure;
#[path = "../whole/program.rs"]
mod program;
#[path = "../whole/proxy.rs"]
mod proxy;
#[path = "../whole/settings.rs"]
mod settings;
#[path = "../whole/stages.rs"]
#[allow(dead_code, reason = "the key is no step of its own here")]
mod stages;
#[path = "../whole/store.rs"]
#[allow(dead_code, reason = "nothing is counted here")]
mod store;
#[path = "../../examples/cheap_key/swap.rs"]
mod swap;
#[path = "../whole/tool.rs"]
#[allow(dead_code, reason = "only some steps are done")]
mod tool;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How many times as fast two processors have to be as one.
const ASKED: f64 = 1.8;
/// Processors, and threads if they are said.
const SETUPS: [(usize, Option<usize>); 3] = [(1, None), (2, None), (2, Some(4))];
const STEPS: [(Step, Work); 3] =
    [(Step::First, Work::Backup), (Step::Check, Work::Check), (Step::Restore, Work::Restore)];

/// One measured run.
struct Row {
    corpus: String,
    what: String,
    setup: usize,
    turn: usize,
    measured: Measured,
}

fn main() -> Outcome<()> {
    if stages::is_stages()? {
        return Ok(());
    }
    let settings = Settings::from_environment()?;
    let work = tempfile::Builder::new().prefix("volmover-bench-").tempdir_in(&settings.folder)?;
    let tools = program::find(&settings.peers, &[]);
    let [volmover, ..] = tools.as_slice() else { return Err("there is nothing to measure".into()) };
    let processors = processors()?;
    println!("{} runs, work in {}, {} keys", settings.turns, settings.folder.display(), settings.keys());
    println!("  {}: {}; processors {processors:?}", volmover.name, volmover.version);
    let mut rows = Vec::new();
    for name in &settings.corpora {
        let corpus = Corpus::prepare(name, work.path(), &settings.peers)?;
        println!("\n{corpus}");
        corpus.read_once()?;
        for turn in 0..settings.turns {
            for setup in (0..SETUPS.len()).map(|setup| (setup + turn) % SETUPS.len()) {
                let run =
                    Run { settings: &settings, volmover, corpus: &corpus, work: work.path(), processors };
                for (what, measured) in run.all(setup)? {
                    rows.push(Row { corpus: name.clone(), what, setup, turn, measured });
                }
            }
        }
        print(&rows, name);
        corpus.remove()?;
    }
    let csv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cores.csv");
    write_csv(&csv, &rows)?;
    println!("\nevery run: {}", csv.display());
    Ok(())
}

/// The first two processors that this process may use.
fn processors() -> Outcome<[usize; 2]> {
    let all = sched_getaffinity(None)?;
    let mut usable = (0..CpuSet::MAX_CPU).filter(|number| all.is_set(*number));
    match (usable.next(), usable.next()) {
        (Some(one), Some(other)) => Ok([one, other]),
        _ => Err("it takes two processors".into()),
    }
}

/// All that is done once.
struct Run<'a> {
    settings: &'a Settings,
    volmover: &'a Tool,
    corpus: &'a Corpus,
    work: &'a Path,
    processors: [usize; 2],
}

impl Run<'_> {
    fn all(&self, setup: usize) -> Outcome<Vec<(String, Measured)>> {
        let (count, threads) = SETUPS.get(setup).copied().ok_or("no such setup")?;
        let folders = ["store", "cache", "target"].map(|name| self.work.join(name));
        let [folder, cache, target] = &folders;
        for folder in [cache, target] {
            fs::create_dir_all(folder)?;
        }
        let Settings { line, peers, cheap_keys, .. } = self.settings;
        let store = Store::open(StoreKind::Local, *line, folder, peers)?;
        let place = Place { source: &self.corpus.folder, repository: &store, cache, target };
        measure::run(self.volmover.init(&place))?;
        if *cheap_keys {
            swap::replace_keys(folder, program::PASSWORD.as_bytes())?;
        }
        let mut measured = Vec::new();
        for (step, _) in STEPS {
            let mut command = self.volmover.command(step, &place);
            if let Some(threads) = threads {
                command.env("MOVER_THREADS", threads.to_string());
            }
            measured.push((step.title().to_owned(), self.on(count, command)?));
        }
        self.corpus.compare(target)?;
        clear(&folders)?;
        // Stages have as many threads as processors.
        if threads.is_none() {
            for folder in [folder, target] {
                fs::create_dir_all(folder)?;
            }
            for (step, work) in STEPS {
                let from = if work == Work::Backup { &self.corpus.folder } else { folder };
                let to = if work == Work::Backup { folder } else { target };
                measured.push((stages_of(step), self.on(count, work.command(from, to)?)?));
            }
            clear(&folders)?;
        }
        Ok(measured)
    }

    /// Runs a command on so many processors: a child has those of the thread that starts it.
    fn on(&self, count: usize, command: Command) -> Outcome<Measured> {
        let all = sched_getaffinity(None)?;
        let mut few = CpuSet::new();
        for number in self.processors.iter().take(count) {
            few.set(*number);
        }
        sched_setaffinity(None, &few)?;
        let measured = measure::run(command);
        sched_setaffinity(None, &all)?;
        measured
    }
}

fn clear(folders: &[impl AsRef<Path>]) -> Outcome<()> {
    for folder in folders.iter().map(AsRef::as_ref).filter(|folder| folder.exists()) {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

fn stages_of(step: Step) -> String {
    format!("  its stages ({})", step.title())
}

fn print(rows: &[Row], corpus: &str) {
    println!(
        "{:<32}{:>14}{:>14}{:>22}{:>8}{:>9}",
        "wall s", "1 processor", "2 processors", "2, with 4 threads", "1 → 2", "asked"
    );
    for (step, _) in STEPS {
        for (what, is_asked) in [(step.title().to_owned(), true), (stages_of(step), false)] {
            let wall = |setup| median(rows, corpus, &what, setup);
            let shown = |setup| wall(setup).map_or("-".to_owned(), |wall| format!("{wall:.2}"));
            let mut line = format!("{what:<32}{:>14}{:>14}{:>22}", shown(0), shown(1), shown(2));
            if let (Some(one), Some(two)) = (wall(0), wall(1)) {
                let times = one / two;
                let _ = write!(line, "{times:>8.2}");
                if is_asked {
                    let verdict = if times >= ASKED { "holds" } else { "missed" };
                    let _ = write!(line, "{:>9}  {verdict}", format!("≥ {ASKED}"));
                }
            }
            println!("{line}");
        }
    }
}

fn median(rows: &[Row], corpus: &str, what: &str, setup: usize) -> Option<f64> {
    let wanted = rows.iter().filter(|row| row.corpus == corpus && row.what == what && row.setup == setup);
    let mut walls: Vec<f64> = wanted.map(|row| row.measured.wall.as_secs_f64()).collect();
    walls.sort_by(f64::total_cmp);
    walls.get(walls.len() / 2).copied()
}

fn write_csv(path: &Path, rows: &[Row]) -> Outcome<()> {
    let mut text = "corpus,step,processors,threads,run,wall_seconds,cpu_seconds,peak_bytes\n".to_owned();
    for Row { corpus, what, setup, turn, measured: Measured { wall, cpu, peak_bytes } } in rows {
        let (processors, threads) = SETUPS.get(*setup).copied().unwrap_or_default();
        let (wall, cpu) = (wall.as_secs_f64(), cpu.as_secs_f64());
        let (what, threads) = (what.trim(), threads.unwrap_or(processors));
        writeln!(text, "{corpus},{what},{processors},{threads},{turn},{wall:.4},{cpu:.4},{peak_bytes}")?;
    }
    Ok(fs::write(path, text)?)
}
