//! A repository of very many blobs and snapshots: volmover, restic and rustic open it, list it, back up into it
//! and forget, taking turns, in one run.
//!
//! The repository is generated once (`generate.rs`), every turn of a tool begins with a copy. Medians and ratios
//! go to stdout, every single run into `large.csv`. `benches/README.md` says which variables steer it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to its caller")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

use program::Tool;
use settings::Settings;
use targets::Way;
use tool::{Place, Step};
use turns::Row;

#[path = "../whole/corpus.rs"]
#[allow(dead_code, reason = "only its noise is wanted")]
mod corpus;
mod generate;
#[path = "../whole/judge.rs"]
mod judge;
#[path = "../../tests/support/proxy.rs"]
mod line;
#[path = "../whole/measure.rs"]
mod measure;
#[path = "../whole/program.rs"]
mod program;
#[path = "../whole/settings.rs"]
#[allow(dead_code, reason = "the corpus is made here and the store is a folder")]
mod settings;
#[path = "../../examples/cheap_key/swap.rs"]
mod swap;
#[path = "../whole/table.rs"]
mod table;
#[path = "../whole/targets.rs"]
#[allow(dead_code, reason = "the store is a folder, and nothing has a floor here")]
mod targets;
mod tool;
#[path = "../whole/turns.rs"]
mod turns;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// From here on it counts that it runs at all.
const HUGE_BLOBS: u64 = 10_000_000;

fn main() -> Outcome<()> {
    let settings = Settings::from_environment()?;
    let work = tempfile::Builder::new().prefix("volmover-bench-").tempdir_in(&settings.folder)?;
    let tools = program::find(&settings.peers, &["rustic"]);
    let [maker, ..] = tools.as_slice() else { return Err("there is nothing to measure".into()) };
    let (blobs, snapshots) =
        (number("VOLMOVER_BENCH_BLOBS", 100_000)?, number("VOLMOVER_BENCH_SNAPSHOTS", 500)?);
    println!("{} runs, work in {}, {} keys", settings.turns, settings.folder.display(), settings.keys());
    for tool in &tools {
        println!("  {}: {}", tool.name, tool.version);
    }
    let base = work.path().join("base");
    make_base(&settings, maker, work.path(), &base, blobs, snapshots)?;
    println!(
        "\n{blobs} blobs and {snapshots} snapshots, {:.0} MiB",
        measure::held(&base)?.0 as f64 / 1_048_576.0
    );
    let name = if blobs < HUGE_BLOBS { "large" } else { "huge" };
    let run = |tool: &Tool, turn| run(work.path(), &base, tool, turn, snapshots, name);
    let rows = turns::take(settings.turns, &tools, || Ok(()), run, || clear(work.path()))?;
    table::print(&rows, &tools);
    judge::print(&rows, name, Way::Folder, &[]);
    let csv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("large.csv");
    table::write_csv(&csv, &rows)?;
    println!("\nevery run: {}", csv.display());
    Ok(())
}

fn number(name: &str, default: u64) -> Outcome<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|_| format!("{name}={text}: a whole number").into()),
        Err(_) => Ok(default),
    }
}

fn make_base(
    settings: &Settings,
    maker: &Tool,
    work: &Path,
    base: &Path,
    blobs: u64,
    snapshots: u64,
) -> Outcome<()> {
    let source = work.join("source");
    fs::create_dir(&source)?;
    for file in 0..100 {
        fs::write(source.join(format!("{file}.txt")), format!("file {file}\n").repeat(1000))?;
    }
    let call = |operation: &str| {
        let mut command = maker.clean_command();
        program::restic_at(&mut command, base, &work.join("no-cache"));
        command.env("MOVER_CACHE_SIZE", "0").env("DATA_DIR", &source).env("MOVER_PATH", &source);
        command.arg(operation);
        measure::run(command)
    };
    call("init")?;
    if settings.cheap_keys {
        swap::replace_keys(base, program::PASSWORD.as_bytes())?;
    }
    call("backup")?;
    generate::add(base, blobs, snapshots)
}

/// Removes what one turn left.
fn clear(work: &Path) -> Outcome<()> {
    for folder in ["repository", "cache"].map(|name| work.join(name)) {
        if folder.exists() {
            fs::remove_dir_all(folder)?;
        }
    }
    Ok(())
}

/// One turn of a tool on a copy of the repository. Its forget removes a tenth of the snapshots. Bytes and files of a row
/// are what the repository holds after its step.
fn run(work: &Path, base: &Path, tool: &Tool, turn: usize, snapshots: u64, name: &str) -> Outcome<Vec<Row>> {
    let (repository, cache) = (work.join("repository"), work.join("cache"));
    fs::create_dir_all(&cache)?;
    let mut copy = Command::new("cp");
    copy.arg("-aT").args([base, &repository]);
    measure::run(copy)?;
    let source = work.join("source");
    let place =
        Place { source: &source, repository: &repository, cache: &cache, keep: snapshots - snapshots / 10 };
    let mut rows = Vec::new();
    for step in Step::MEASURED {
        if step.is_cold() {
            fs::remove_dir_all(&cache)?;
            fs::create_dir_all(&cache)?;
        }
        let measured =
            measure::run(tool.command(step, &place)).map_err(|error| format!("{}: {error}", step.title()))?;
        let (stored_bytes, requests) = measure::held(&repository)?;
        let corpus = name.to_owned();
        let (tool, line_bytes) = (tool.name, 0);
        rows.push(Row { corpus, tool, turn, step, measured, stored_bytes, requests, line_bytes });
    }
    Ok(rows)
}
