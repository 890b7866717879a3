//! Forget and prune: volmover, restic and rustic on equal copies of one repository, taking turns, in one run.
//!
//! restic makes 50 snapshots of a changing tree once; every turn of a tool begins with a copy of that, forgets
//! all but five, prunes, and restic checks what is left; a copy of what `MinIO` stored is served by a new `MinIO`.
//! Medians, ratios and verdicts go to stdout, every single run into `maintenance.csv`. It fails when volmover leaves a hundredth more or less than restic.
//! `benches/README.md` says what the columns mean and which variables steer it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to its caller")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use corpus::Corpus;
use line::Line;
use program::Tool;
use settings::{Settings, StoreKind};
use store::Store;
use targets::Way;
use tool::Step;
use turns::Row;

#[path = "../whole/corpus.rs"]
#[allow(dead_code, reason = "nothing is restored here")]
mod corpus;
mod history;
#[path = "../whole/judge.rs"]
mod judge;
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
#[path = "../whole/store.rs"]
mod store;
#[path = "../../examples/cheap_key/swap.rs"]
mod swap;
#[path = "../whole/table.rs"]
mod table;
#[path = "../whole/targets.rs"]
#[allow(dead_code, reason = "nothing has a floor here")]
mod targets;
mod tool;
#[path = "../whole/turns.rs"]
mod turns;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let settings = Settings::from_environment()?;
    let work = tempfile::Builder::new().prefix("volmover-bench-").tempdir_in(&settings.folder)?;
    let tools = program::find(&settings.peers, &["rustic", "rustic fast"]);
    println!("{} runs, work in {}, {} keys", settings.turns, settings.folder.display(), settings.keys());
    for tool in &tools {
        println!("  {}: {}", tool.name, tool.version);
    }
    let restic =
        tools.iter().find(|tool| tool.name == "restic").ok_or("without restic there is no history")?;
    let mut rows = Vec::new();
    for name in &settings.corpora {
        let corpus = Corpus::prepare(name, work.path(), &settings.peers)?;
        let base = work.path().join("base");
        make_base(&settings, restic, &corpus, work.path(), &base)?;
        let (bytes, _) = measure::held(&base)?;
        let (store, snapshots) = (settings.store, history::SNAPSHOTS);
        println!("\n{corpus} · {store} store · {snapshots} snapshots, {:.0} MiB stored", mib(bytes));
        let bench = Bench { settings: &settings, work: work.path(), base: &base, restic, corpus: name };
        let mut measured = turns::take(
            settings.turns,
            &tools,
            || Ok(()),
            |tool, turn| bench.turn(tool, turn),
            || bench.clear(),
        )?;
        table::print(&measured, &tools);
        judge::print(&measured, name, Way::of(&settings), &[]);
        compare(&measured)?;
        rows.append(&mut measured);
        fs::remove_dir_all(&base)?;
    }
    let csv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("maintenance.csv");
    table::write_csv(&csv, &rows)?;
    println!("\nevery run: {}", csv.display());
    Ok(())
}

/// The repository of the whole history, from a tree that may be changed.
fn make_base(settings: &Settings, restic: &Tool, corpus: &Corpus, work: &Path, base: &Path) -> Outcome<()> {
    let (tree, cache) = (work.join("tree"), work.join("base-cache"));
    history::copy(&corpus.folder, &tree)?;
    let store = Store::open(settings.store, Line::default(), base, &settings.peers)?;
    history::make(restic, &tree, &store, &cache, || {
        if let (true, Some(folder)) = (settings.cheap_keys, store.folder()) {
            swap::replace_keys(folder, program::PASSWORD.as_bytes())?;
        }
        Ok(())
    })?;
    fs::remove_dir_all(&tree)?;
    fs::remove_dir_all(&cache)?;
    corpus.remove()
}

/// All runs on one history.
struct Bench<'a> {
    settings: &'a Settings,
    work: &'a Path,
    base: &'a Path,
    restic: &'a Tool,
    corpus: &'a str,
}

impl Bench<'_> {
    /// Removes what one turn left.
    fn clear(&self) -> Outcome<()> {
        for name in ["repository", "cache", "check-cache"] {
            let folder = self.path(name);
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }

    /// Bytes and files of a row are what the repository holds after its step.
    fn turn(&self, tool: &Tool, turn: usize) -> Outcome<Vec<Row>> {
        let mut rows = Vec::new();
        let (repository, cache) = (self.path("repository"), self.path("cache"));
        history::copy(self.base, &repository)?;
        fs::create_dir_all(&cache)?;
        let Settings { store, line, peers, .. } = self.settings;
        let (kept, is_local) = match store {
            StoreKind::Local => (repository.clone(), true),
            StoreKind::S3 => (repository.join(store::BUCKET), false),
        };
        let store = Store::open(*store, *line, &repository, peers)?;
        for step in Step::MEASURED {
            let before = store.counted()?;
            let measured = measure::run(tool.command(step, &store, &cache))
                .map_err(|error| format!("{}: {error}", step.title()))?;
            let counted = store.counted()?.since(before);
            let (stored_bytes, files) = measure::held(&kept)?;
            let requests = if is_local { files } else { counted.requests };
            let (corpus, line_bytes) = (self.corpus.to_owned(), counted.line_bytes());
            rows.push(Row {
                corpus,
                tool: tool.name,
                turn,
                step,
                measured,
                stored_bytes,
                requests,
                line_bytes,
            });
        }
        let mut check = self.restic.clean_command();
        program::restic_at(&mut check, store.restic_url(), &self.path("check-cache"));
        check.envs(store.credentials()).arg("check");
        measure::run(check).map_err(|error| format!("restic check finds fault: {error}"))?;
        Ok(rows)
    }
}

/// What volmover leaves must not differ from what restic leaves by more than a hundredth.
fn compare(rows: &[Row]) -> Outcome<()> {
    let left = |tool: &str| {
        let pruned = |row: &&Row| row.tool == tool && row.step == Step::Prune;
        rows.iter().filter(pruned).map(|row| row.stored_bytes).max()
    };
    let (Some(ours), Some(restic)) = (left("volmover"), left("restic")) else { return Ok(()) };
    println!("left by volmover ÷ left by restic: {:.4}", ours as f64 / restic as f64);
    if ours.abs_diff(restic) * 100 > restic {
        return Err(format!("volmover leaves {:.1} MiB, restic {:.1} MiB", mib(ours), mib(restic)).into());
    }
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
