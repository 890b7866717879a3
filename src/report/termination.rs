//! The summary in few bytes, for Kubernetes' termination message: at most 4096 bytes, always valid JSON.
//!
//! What a run did goes before what it met, and why it failed goes last of all: parts are left out in this
//! order until it fits, then texts are cut. A summary that lacks something says `"shortened":true`.

use super::run_summary::{Failure, OperationSummary, Outcome, RunSummary, Traffic};
use super::sink::clip;

/// What Kubernetes keeps of a message.
pub const BYTES_MAX: usize = 4096;

/// The summary as JSON of at most `BYTES_MAX` bytes.
#[must_use]
pub fn message(summary: &RunSummary) -> String {
    let whole = summary.json();
    if whole.len() <= BYTES_MAX {
        return whole;
    }
    let mut short = RunSummary { shortened: true, ..summary.clone() };
    let steps: [fn(&mut RunSummary); 5] = [
        |summary| summary.warnings.truncate(2),
        |summary| each(summary, |operation| operation.traffic = bare(&operation.traffic)),
        |summary| {
            summary.warnings.clear();
            summary.traffic = bare(&summary.traffic);
        },
        |summary| each(summary, |operation| operation.phases.clear()),
        |summary| each(summary, |operation| operation.items_failed.truncate(2)),
    ];
    for step in steps {
        step(&mut short);
        let text = short.json();
        if text.len() <= BYTES_MAX {
            return text;
        }
    }
    // A character may take six bytes in JSON, and a long sequence many operations: halve until it fits.
    let mut text_bytes = 1024;
    loop {
        cut(&mut short, text_bytes);
        let text = short.json();
        if text.len() <= BYTES_MAX || text_bytes == 0 {
            return text;
        }
        text_bytes /= 2;
    }
}

fn each(summary: &mut RunSummary, change: fn(&mut OperationSummary)) {
    summary.operations.iter_mut().for_each(change);
}

fn bare(traffic: &Traffic) -> Traffic {
    Traffic { requests: Vec::new(), retries: Vec::new(), ..traffic.clone() }
}

/// Cuts every text to `bytes`, and leaves no more operations than that allows: those that failed stay longest.
fn cut(summary: &mut RunSummary, bytes: usize) {
    let shorten = |text: &mut String| text.truncate(clip(text, bytes).len());
    shorten(&mut summary.object.obj_name);
    shorten(&mut summary.object.obj_namespace);
    summary.repository.iter_mut().for_each(shorten);
    if let Some(Failure { what, place, cause, next, line, .. }) = &mut summary.error {
        [what, line, next].into_iter().chain(place).chain(cause).for_each(shorten);
    }
    each(summary, |operation| operation.items_failed.clear());
    let room = bytes / 128;
    if summary.operations.len() > room {
        let failed = |operation: &OperationSummary| operation.outcome == Outcome::Failed;
        let mut ordered = std::mem::take(&mut summary.operations);
        ordered.sort_by_key(|operation| !failed(operation));
        ordered.truncate(room);
        summary.operations = ordered;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use serde_json::Value;

    use super::super::run_summary::testing::summary;
    use super::*;

    fn read(text: &str) -> Value {
        assert!(text.len() <= BYTES_MAX, "{} bytes", text.len());
        serde_json::from_str(text).unwrap_or_else(|cause| panic!("{cause}: {text}"))
    }

    #[test]
    fn a_short_summary_is_told_whole() {
        let text = message(&summary());
        assert_eq!(text, summary().json());
        let json = read(&text);
        assert_eq!((&json["exit_code"], &json["shortened"]), (&Value::from(11), &Value::Null));
    }

    #[test]
    fn whatever_is_too_long_the_failure_and_the_next_step_stay() {
        let mut long = summary();
        long.warnings = vec!["x".repeat(400); 10];
        let json = read(&message(&long));
        assert_eq!(json["shortened"], true);
        assert_eq!(json["error"]["next"], "Wait for it to finish");
        assert_eq!(json["operations"].as_array().unwrap().len(), 2);
        assert_eq!(json["operations"][0]["backup"]["snapshot_id"], format!("084f4943{}", "0".repeat(56)));

        // Every text as long as it may be, and of characters that take six bytes each.
        let hostile = "<\u{2028}\"\u{1}".repeat(4000);
        let error = long.error.as_mut().unwrap();
        error.place = Some(hostile.clone());
        error.cause = Some(hostile.clone());
        long.object.obj_name = hostile.clone();
        long.repository = Some(hostile);
        let failed = long.operations.pop().unwrap();
        long.operations = vec![long.operations[0].clone(); 40];
        long.operations.push(failed);
        let json = read(&message(&long));
        assert_eq!(json["exit_code"], 11);
        assert_eq!(json["error"]["next"], "Wait for it to finish");
        assert_eq!(json["operations"][0]["operation"], "prune");
    }
}
