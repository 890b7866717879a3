//! Whole runs: volmover, restic and rustic on the same data, taking turns, in one run.
//!
//! For every corpus and every tool: a new repository and the steps of `tool::Step`, from a first backup to a
//! restore of what is missing. Medians and ratios go to stdout, every single run into `whole.csv`. `benches/README.md` says
//! what the columns mean and which variables steer it. A tool that is missing or fails is named, and the
//! others go on. This process stays small: a child's peak memory cannot be seen below its parent's.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to its caller")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use corpus::Corpus;
use floor::Rounds;
use program::Tool;
use settings::{Settings, StoreKind};
use store::Store;
use targets::Way;
use tool::Step;
use turns::Row;

mod corpus;
mod floor;
mod judge;
#[path = "../../tests/support/proxy.rs"]
mod line;
mod measure;
mod program;
mod proxy;
mod settings;
mod stages;
mod store;
#[path = "../../examples/cheap_key/swap.rs"]
mod swap;
mod table;
mod targets;
mod tool;
mod turns;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    if stages::is_stages()? {
        return Ok(());
    }
    let settings = Settings::from_environment()?;
    let work = Work::new(&settings.folder)?;
    let tools = program::find(&settings.peers, &["rustic"]);
    let [maker, ..] = tools.as_slice() else { return Err("there is nothing to measure".into()) };
    println!("{} runs, work in {}, {} keys", settings.turns, settings.folder.display(), settings.keys());
    for tool in &tools {
        println!("  {}: {}", tool.name, tool.version);
    }
    let steps = Step::wanted()?;
    let mut rows = Vec::new();
    for name in &settings.corpora {
        let corpus = Corpus::prepare(name, &work.folder, &settings.peers)?;
        println!("\n{corpus} · {} store", settings.store);
        corpus.read_once()?;
        let bench = Bench { settings: &settings, work: &work, corpus: &corpus, maker, steps: &steps };
        let mut floors = Rounds::default();
        let begin = || match settings.store {
            StoreKind::Local => floors.measure(&corpus, &work.path("store"), &work.path("target")),
            StoreKind::S3 => Ok(()),
        };
        let mut measured =
            turns::take(settings.turns, &tools, begin, |tool, turn| bench.turn(tool, turn), || work.clear())?;
        table::print(&measured, &tools);
        judge::print(&measured, name, Way::of(&settings), &floors.floors());
        rows.append(&mut measured);
        corpus.remove()?;
    }
    let csv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("whole.csv");
    table::write_csv(&csv, &rows)?;
    println!("\nevery run: {}", csv.display());
    Ok(())
}

/// All runs on one corpus.
struct Bench<'a> {
    settings: &'a Settings,
    work: &'a Work,
    corpus: &'a Corpus,
    maker: &'a Tool,
    steps: &'a [Step],
}

impl Bench<'_> {
    /// `maker` makes the repository: one program makes all, because restic's `init` fits the cost of a key, which
    /// every command pays, to the load of the moment.
    fn turn(&self, tool: &Tool, turn: usize) -> Outcome<Vec<Row>> {
        let corpus = self.corpus;
        let store = Store::open(
            self.settings.store,
            self.settings.line,
            &self.work.path("store"),
            &self.settings.peers,
        )?;
        let place = tool::Place {
            source: &corpus.folder,
            repository: &store,
            cache: &self.work.path("cache"),
            target: &self.work.path("target"),
        };
        fs::create_dir_all(place.cache)?;
        fs::create_dir_all(place.target)?;
        measure::run(self.maker.init(&place))?;
        if let (true, Some(folder)) = (self.settings.cheap_keys, store.folder()) {
            swap::replace_keys(folder, program::PASSWORD.as_bytes())?;
        }
        let (mut rows, mut changed) = (Vec::new(), Vec::new());
        for step in self.steps.iter().copied() {
            match step {
                Step::Uncached => clear(place.cache)?,
                Step::Changed => changed = corpus.change()?,
                Step::Refill => corpus::hundredth(place.target)?.iter().try_for_each(fs::remove_file)?,
                _ => {}
            }
            let before = store.counted()?;
            let measured = measure::run(tool.command(step, &place))
                .map_err(|error| format!("{}: {error}", step.title()))?;
            let counted = store.counted()?.since(before);
            rows.push(Row {
                corpus: corpus.name.clone(),
                tool: tool.name,
                turn,
                step,
                measured,
                stored_bytes: counted.bytes,
                requests: counted.requests,
                line_bytes: counted.line_bytes(),
            });
        }
        corpus::change_back(changed)?;
        if self.steps.contains(&Step::Restore) {
            corpus
                .compare(place.target)
                .map_err(|error| format!("its restore is not what was backed up: {error}"))?;
        }
        Ok(rows)
    }
}

fn clear(folder: &Path) -> Outcome<()> {
    fs::remove_dir_all(folder)?;
    Ok(fs::create_dir_all(folder)?)
}

/// The folder for everything that is made here; it goes when the bench ends.
struct Work {
    folder: PathBuf,
}

impl Work {
    const PREFIX: &str = "volmover-bench-";

    /// Makes the folder, and removes those of runs that were killed.
    fn new(parent: &Path) -> Outcome<Self> {
        for entry in fs::read_dir(parent)? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            let process = name.strip_prefix(Self::PREFIX).and_then(|process| process.parse::<u32>().ok());
            if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let folder = parent.join(format!("{}{}", Self::PREFIX, std::process::id()));
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Removes what one turn left.
    fn clear(&self) -> Outcome<()> {
        for name in ["store", "cache", "target"] {
            if self.path(name).exists() {
                fs::remove_dir_all(self.path(name))?;
            }
        }
        Ok(())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            eprintln!("{} is left behind: {error}", self.folder.display());
        }
    }
}
