//! Tools take turns, a different one first in each turn, so that none has the better moments of a machine.

use super::Outcome;
use super::measure::Measured;
use super::program::Tool;
use super::tool::Step;

/// One measured step of one tool in one turn.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) corpus: String,
    pub(super) tool: &'static str,
    pub(super) turn: usize,
    pub(super) step: Step,
    pub(super) measured: Measured,
    pub(super) stored_bytes: u64,
    pub(super) requests: u64,
    /// Bytes that went over the line to a store in the busier direction.
    pub(super) line_bytes: u64,
}

/// What all turns gave. `begin` comes before each, `run` is a turn of a tool, `clear` removes what it left; a tool that
/// fails once is left out.
pub(super) fn take(
    turns: usize,
    tools: &[Tool],
    mut begin: impl FnMut() -> Outcome<()>,
    mut run: impl FnMut(&Tool, usize) -> Outcome<Vec<Row>>,
    clear: impl Fn() -> Outcome<()>,
) -> Outcome<Vec<Row>> {
    let (mut rows, mut failed) = (Vec::new(), Vec::new());
    for turn in 0..turns {
        begin()?;
        let (later, sooner) = tools.split_at(turn % tools.len().max(1));
        for tool in sooner.iter().chain(later) {
            if failed.contains(&tool.name) {
                continue;
            }
            match run(tool, turn) {
                Ok(mut measured) => rows.append(&mut measured),
                Err(error) => {
                    println!("{}: left out, it failed: {error}", tool.name);
                    failed.push(tool.name);
                    rows.retain(|row: &Row| row.tool != tool.name);
                }
            }
            clear()?;
        }
    }
    Ok(rows)
}
