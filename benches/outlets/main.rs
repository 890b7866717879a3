//! What it costs to tell how a run went: the same backup of an unchanged folder with no way out configured, with a
//! metrics file, and with every way out, each of them dead; by turns, in one run.
//!
//! The store is an S3 server in this process, so its requests can be counted and its work is not measured; the
//! repository's key opens at once. `benches/README.md` says which variables steer it.
#![allow(clippy::print_stdout, reason = "a program that talks to its caller")]

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use measure::Measured;
use s3::{ACCESS_KEY, Profile, S3Server, SECRET_KEY};
use tempfile::TempDir;
use volmover::backend::object::{ObjectBackend, ObjectOptions, StaticKeys};
use volmover::clock::SystemClock;
use volmover::random::SystemRandom;
use volmover::repository::Repository;
use volmover::repository::compression::Compression;
use volmover::repository::open::Access;
use volmover::repository::scrypt::ScryptCost;
use zeroize::Zeroizing;

#[path = "../whole/measure.rs"]
#[allow(dead_code, reason = "only its runs are wanted")]
mod measure;
#[path = "../../tests/support/s3.rs"]
mod s3;

type Outcome<T> = Result<T, Box<dyn Error>>;

const PASSWORD: &str = "volmover";
/// Nobody listens there.
const DEAD: &str = "http://127.0.0.1:1";

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nobody,
    File,
    Dead,
}

impl Told {
    const ALL: [Self; 3] = [Self::Nobody, Self::File, Self::Dead];

    fn title(self) -> &'static str {
        match self {
            Self::Nobody => "nobody is told",
            Self::File => "a metrics file",
            Self::Dead => "every way out, all dead",
        }
    }

    fn variables(self, folder: &Path) -> Vec<(&'static str, PathBuf)> {
        let nowhere = || PathBuf::from("/nonexistent/volmover");
        match self {
            Self::Nobody => Vec::new(),
            Self::File => vec![("MOVER_METRICS_FILE", folder.join("volmover.prom"))],
            Self::Dead => vec![
                ("MOVER_TERMINATION_LOG", nowhere()),
                ("MOVER_REPORT_FILE", nowhere()),
                ("MOVER_METRICS_FILE", nowhere()),
                ("MOVER_METRICS_LISTEN", "192.0.2.1:9".into()),
                ("MOVER_PUSHGATEWAY", DEAD.into()),
                ("OTEL_EXPORTER_OTLP_ENDPOINT", DEAD.into()),
                ("MOVER_NOTIFY_URL", DEAD.into()),
                ("MOVER_NOTIFY_ON", "both".into()),
            ],
        }
    }
}

/// One run.
struct Row {
    told: Told,
    measured: Measured,
    requests: usize,
}

fn main() -> Outcome<()> {
    let turns = match std::env::var("VOLMOVER_BENCH_RUNS") {
        Ok(text) => text.parse().map_err(|_| format!("VOLMOVER_BENCH_RUNS={text}: a whole number"))?,
        Err(_) => 51,
    };
    let (server, work) = (S3Server::start(Profile::plain()), TempDir::new()?);
    create(&server)?;
    for file in 0..300 {
        fs::write(work.path().join(format!("{file}.txt")), format!("file {file}\n").repeat(100))?;
    }
    let cache = TempDir::new()?;
    // The first stores everything, the second fills the cache.
    for _ in 0..2 {
        measure::run(backup(&server, work.path(), cache.path(), Told::Nobody))?;
    }
    let mut rows = Vec::new();
    for turn in 0..turns {
        let (later, sooner) = Told::ALL.split_at(turn % Told::ALL.len());
        for told in sooner.iter().chain(later) {
            let before = server.log().len();
            let measured = measure::run(backup(&server, work.path(), cache.path(), *told))?;
            rows.push(Row { told: *told, measured, requests: server.log().len() - before });
        }
    }
    print(&rows, turns);
    Ok(())
}

fn create(server: &S3Server) -> Outcome<()> {
    let mut options = ObjectOptions {
        endpoint: Some(server.endpoint()),
        bucket: "repository".to_owned(),
        ..ObjectOptions::default()
    };
    options.credentials.static_keys = Some(StaticKeys {
        access_key_id: Zeroizing::new(ACCESS_KEY.to_owned()),
        secret_access_key: Zeroizing::new(SECRET_KEY.to_owned()),
        session_token: None,
    });
    let access = Access {
        password: PASSWORD.as_bytes(),
        key_hint: None,
        compression: Compression::Auto,
        scrypt: ScryptCost::CHEAP,
        threads: 1,
        host_and_user: ("bench", "bench"),
        clock: Arc::new(SystemClock::new()),
        random: Arc::new(SystemRandom),
    };
    Repository::create(Arc::new(ObjectBackend::open(options)?), &access)?;
    Ok(())
}

/// A call with nothing of the caller's environment.
fn backup(server: &S3Server, source: &Path, cache: &Path, told: Told) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_volmover"));
    command.arg("backup").env_clear().envs(told.variables(cache));
    command
        .env("RESTIC_REPOSITORY", format!("s3:{}/repository", server.endpoint()))
        .env("RESTIC_PASSWORD", PASSWORD)
        .env("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        .env("RESTIC_CACHE_DIR", cache)
        .env("DATA_DIR", source);
    command
}

/// Medians, and their ratio to those of a run that tells nobody.
fn print(rows: &[Row], turns: usize) {
    type Figure = (&'static str, fn(&Row) -> f64);
    let figures: [Figure; 4] = [
        ("wall ms", |row| row.measured.wall.as_secs_f64() * 1e3),
        ("cpu ms", |row| row.measured.cpu.as_secs_f64() * 1e3),
        ("peak MiB", |row| row.measured.peak_bytes as f64 / 1_048_576.0),
        ("requests", |row| row.requests as f64),
    ];
    println!("an unchanged backup, medians of {turns} runs each, and ÷ nobody");
    print!("{:<26}", "");
    for (title, _) in figures {
        print!("{title:>18}");
    }
    println!();
    for told in Told::ALL {
        print!("{:<26}", told.title());
        for (_, figure) in figures {
            let of = |told: Told| median(rows.iter().filter(|row| row.told == told).map(figure).collect());
            let (value, base) = (of(told), of(Told::Nobody));
            print!("{:>18}", format!("{value:.1} ({:.2})", value / base));
        }
        println!();
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
