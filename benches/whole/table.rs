//! Medians and ratios as a table, every run as CSV.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use super::Outcome;
use super::program::Tool;
use super::tool::Step;
use super::turns::Row;

pub(super) const MIB: f64 = (1_u64 << 20) as f64;

/// A column of figures: its title, how a row gives it, decimals, and whether a ratio says something.
type Figure = (&'static str, fn(&Row) -> f64, usize);

const FIGURES: [Figure; 5] = [
    ("wall s", |row| row.measured.wall.as_secs_f64(), 2),
    ("cpu s", |row| row.measured.cpu.as_secs_f64(), 2),
    ("peak MiB", |row| row.measured.peak_bytes as f64 / MIB, 0),
    ("stored MiB", |row| row.stored_bytes as f64 / MIB, 2),
    ("requests", |row| row.requests as f64, 0),
];

/// Prints the medians of one corpus. A ratio is peer ÷ volmover: above 1, volmover took less.
pub(super) fn print(rows: &[Row], tools: &[Tool]) {
    let (names, peers) = columns(rows, tools);
    print!("{:<32}", "");
    for name in &names {
        print!("{name:>12}");
    }
    for name in &peers {
        print!("{:>24}", format!("{name} ÷ volmover"));
    }
    println!();
    let done = |step: &Step| rows.iter().any(|row| row.step == *step);
    for step in Step::MEASURED.into_iter().filter(done) {
        for (position, (title, figure, decimals)) in FIGURES.iter().enumerate() {
            let value = |name: &str| median(rows, name, step, *figure);
            print!("{:<20}{title:<12}", if position == 0 { step.title() } else { "" });
            for name in &names {
                print!("{:>12}", value(name).map_or("-".to_owned(), |value| format!("{value:.decimals$}")));
            }
            for name in &peers {
                let ratio = value(name).zip(value("volmover")).filter(|(_, own)| *own > 0.0);
                print!("{:>24}", ratio.map_or("-".to_owned(), |(peer, own)| format!("{:.2}", peer / own)));
            }
            println!();
        }
    }
}

/// All tools that gave figures, and those that volmover is compared with.
fn columns(rows: &[Row], tools: &[Tool]) -> (Vec<&'static str>, Vec<&'static str>) {
    let ran = tools.iter().map(|tool| tool.name).filter(|name| rows.iter().any(|row| row.tool == *name));
    let names: Vec<_> = ran.collect();
    let peers = if names.contains(&"volmover") {
        names.iter().copied().filter(|name| *name != "volmover").collect()
    } else {
        Vec::new()
    };
    (names, peers)
}

pub(super) fn median(rows: &[Row], tool: &str, step: Step, figure: fn(&Row) -> f64) -> Option<f64> {
    middle(rows.iter().filter(|row| row.tool == tool && row.step == step).map(figure).collect())
}

/// The median of figures; none of none.
pub(super) fn middle(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = values.get(values.len() / 2)?;
    let lower = values.get(values.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(*upper, *lower))
}

/// Writes every run.
pub(super) fn write_csv(path: &Path, rows: &[Row]) -> Outcome<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(
        file,
        "corpus,tool,run,step,wall_seconds,cpu_seconds,peak_bytes,stored_bytes,requests,line_bytes"
    )?;
    for Row { corpus, tool, turn, step, measured, stored_bytes, requests, line_bytes } in rows {
        let (wall, cpu) = (measured.wall.as_secs_f64(), measured.cpu.as_secs_f64());
        let (step, peak) = (step.title().replace(',', ""), measured.peak_bytes);
        let counted = format!("{stored_bytes},{requests},{line_bytes}");
        writeln!(file, "{corpus},{tool},{turn},{step},{wall:.4},{cpu:.4},{peak},{counted}")?;
    }
    Ok(file.flush()?)
}
