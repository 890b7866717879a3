//! The most memory that volmover has under a budget of 128 MiB: with one very long file, and with very many tiny ones.
//!
//! Both are generated (`generate.rs`), backed up into a new repository, and restored. The budget is for everything
//! but the index, which takes 48 bytes a blob. Peaks go to stdout and into `memory.csv`. This process stays small: a
//! child's peak cannot be seen below its parent's. `benches/README.md` says which variables steer it.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program that talks to its caller")]

use std::error::Error;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use corpus::Corpus;
use measure::Measured;
use program::Tool;
use settings::Settings;

#[path = "../whole/corpus.rs"]
#[allow(dead_code, reason = "what is backed up is made here")]
mod corpus;
mod generate;
#[path = "../../tests/support/proxy.rs"]
mod line;
#[path = "../whole/measure.rs"]
#[allow(dead_code, reason = "what is stored is not of interest")]
mod measure;
#[path = "../whole/program.rs"]
#[allow(dead_code, reason = "the peers are not asked")]
mod program;
#[path = "../whole/settings.rs"]
#[allow(dead_code, reason = "corpora and store are none of the settings here")]
mod settings;

type Outcome<T> = Result<T, Box<dyn Error>>;

const BUDGET_MIB: u64 = 128;
/// What a blob takes in an index.
const INDEX_ENTRY_BYTES: u64 = 48;
const MIB: f64 = (1_u64 << 20) as f64;

type Make = fn(&Path, u64) -> Outcome<()>;

fn main() -> Outcome<()> {
    let settings = Settings::from_environment()?;
    let tools = program::find(&settings.peers, &[]);
    let [volmover, ..] = tools.as_slice() else { return Err("there is nothing to measure".into()) };
    let bytes = number("VOLMOVER_BENCH_FILE_MB", 1000)? * 1_000_000;
    let files = number("VOLMOVER_BENCH_FILES", 20_000)?;
    println!("{} runs, work in {}", settings.turns, settings.folder.display());
    println!("  {}: {}", volmover.name, volmover.version);
    let cases: [(&str, u64, Make); 2] =
        [("a long file", bytes, generate::long_file), ("tiny files", files, generate::tiny_files)];
    let mut csv = "source,run,step,wall_seconds,cpu_seconds,peak_bytes,blobs\n".to_owned();
    for (name, amount, make) in cases {
        let work = tempfile::Builder::new().prefix("volmover-bench-").tempdir_in(&settings.folder)?;
        for turn in 0..settings.turns {
            let source = work.path().join("source");
            make(&source, amount)?;
            let corpus = Corpus::of(name, source)?;
            println!("\n{corpus}");
            let bench = Bench { volmover, corpus: &corpus, work: work.path() };
            bench.turn(turn, &mut csv)?;
        }
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("memory.csv");
    fs::write(&path, csv)?;
    println!("\nevery run: {}", path.display());
    Ok(())
}

fn number(name: &str, default: u64) -> Outcome<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|_| format!("{name}={text}: a whole number").into()),
        Err(_) => Ok(default),
    }
}

struct Bench<'a> {
    volmover: &'a Tool,
    corpus: &'a Corpus,
    work: &'a Path,
}

impl Bench<'_> {
    fn turn(&self, turn: usize, csv: &mut String) -> Outcome<()> {
        let target = self.path("target");
        fs::create_dir_all(&target)?;
        let mut blobs = 0;
        for (step, folder) in [("backup", &self.corpus.folder), ("restore", &target)] {
            let measured = self.run(step, folder).map_err(|error| format!("{step}: missed: {error}"));
            let measured = match measured {
                Ok(measured) => measured,
                Err(missed) => {
                    println!("{missed}");
                    break;
                }
            };
            if step == "backup" {
                blobs = self.blobs()?;
                // So that a file system needs to have room and inodes for one of the two only.
                self.corpus.remove()?;
            } else {
                self.corpus.compare(&target)?;
            }
            tell(step, &measured, blobs);
            let Measured { wall, cpu, peak_bytes } = measured;
            let (wall, cpu) = (wall.as_secs_f64(), cpu.as_secs_f64());
            let name = &self.corpus.name;
            writeln!(csv, "{name},{turn},{step},{wall:.4},{cpu:.4},{peak_bytes},{blobs}")?;
        }
        for folder in ["source", "repository", "cache", "target"].map(|name| self.path(name)) {
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
        }
        Ok(())
    }

    fn run(&self, step: &str, folder: &Path) -> Outcome<Measured> {
        let mut command = self.volmover.clean_command();
        program::restic_at(&mut command, self.path("repository"), &self.path("cache"));
        command.env("DATA_DIR", folder).env("MOVER_PATH", &self.corpus.folder);
        command.env("MOVER_MEMORY", format!("{BUDGET_MIB}MiB"));
        command.env("MOVER_REPORT_FILE", self.path("report.json")).arg(step);
        measure::run(command)
    }

    /// How many blobs the backup stored.
    fn blobs(&self) -> Outcome<u64> {
        let report: serde_json::Value = serde_json::from_slice(&fs::read(self.path("report.json"))?)?;
        let count = |kind: &str| {
            let place = format!("/operations/0/backup/{kind}_blobs");
            report.pointer(&place).and_then(serde_json::Value::as_u64).ok_or(format!("no {kind}_blobs"))
        };
        Ok(count("data")? + count("tree")?)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.join(name)
    }
}

fn tell(step: &str, measured: &Measured, blobs: u64) {
    let index_bytes = blobs * INDEX_ENTRY_BYTES;
    let most = BUDGET_MIB as f64 + index_bytes as f64 / MIB;
    let peak = measured.peak_bytes as f64 / MIB;
    println!(
        "{step:<9}{:>8.1} s   peak {peak:.1} MiB of {BUDGET_MIB} MiB and an index of {:.1} MiB ({blobs} blobs): {}",
        measured.wall.as_secs_f64(),
        index_bytes as f64 / MIB,
        if peak <= most { "holds" } else { "missed" }
    );
}
