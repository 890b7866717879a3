//! Samples in Prometheus' text format, and what of an older text stays beside them.
//!
//! The older text is one of ours: of each operation a family that is told anew is replaced whole, and all
//! else stays. So a failed run keeps the time of the last success, and a backup keeps what a prune said.

use std::fmt::Write;

use super::metrics::{FAMILIES, Group, Sample};

/// The text, with every family together, its HELP and TYPE first.
pub(super) fn text(samples: &[Sample]) -> String {
    merged(samples, "")
}

/// The same, with what stays of `older`.
pub(super) fn merged(samples: &[Sample], older: &str) -> String {
    let told: Vec<(&str, String)> =
        samples.iter().map(|sample| (sample.family.name, labels(&sample.group, &[]))).collect();
    let stays = |line: &&str| {
        let name = line.split('{').next().unwrap_or_default();
        // Our own labels of the group always stand first.
        !told.iter().any(|(family, group)| {
            let group = group.trim_end_matches('}');
            *family == name && line.get(name.len()..).is_some_and(|rest| rest.starts_with(group))
        })
    };
    let kept: Vec<&str> = older.lines().filter(|line| line.starts_with("mover_")).filter(stays).collect();
    let mut text = String::new();
    for family in FAMILIES {
        let old = kept.iter().filter(|line| line.split('{').next() == Some(family.name));
        let mut lines: Vec<String> = old.map(|line| (*line).to_owned()).collect();
        let new = samples.iter().filter(|sample| sample.family == *family);
        lines.extend(new.map(|sample| {
            format!("{}{} {}", family.name, labels(&sample.group, &sample.labels), sample.value)
        }));
        if !lines.is_empty() {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "# HELP {} {}", family.name, family.help);
            let _ = writeln!(text, "# TYPE {} {}", family.name, family.kind());
            text.push_str(&lines.join("\n"));
            text.push('\n');
        }
    }
    text
}

/// The samples of a group, without its labels: for who names the group elsewhere.
pub(super) fn of_group(samples: &[Sample], group: &Group) -> String {
    let bare = |sample: &Sample| {
        let labels: Vec<String> = sample.labels.iter().map(|(name, value)| label(name, value)).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        format!("{}{labels} {}\n", sample.family.name, sample.value)
    };
    let mut text = String::new();
    for family in FAMILIES {
        let mut of =
            samples.iter().filter(|sample| sample.family == *family && sample.group == *group).peekable();
        if of.peek().is_some() {
            let _ = writeln!(text, "# HELP {} {}", family.name, family.help);
            let _ = writeln!(text, "# TYPE {} {}", family.name, family.kind());
            of.for_each(|sample| text.push_str(&bare(sample)));
        }
    }
    text
}

fn labels(group: &Group, own: &[(&'static str, String)]) -> String {
    let all: Vec<String> = group.0.iter().chain(own).map(|(name, value)| label(name, value)).collect();
    format!("{{{}}}", all.join(","))
}

pub(super) fn label(name: &str, value: &str) -> String {
    format!("{name}=\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::super::metrics::samples;
    use super::*;
    use crate::report::run_summary::testing::summary;

    #[test]
    fn a_family_stands_together_after_its_help() {
        let text = text(&samples(&summary(), None));
        let group = |operation: &str| {
            format!(r#"obj_name="app",obj_namespace="ns",role="source",operation="{operation}""#)
        };
        let expected = format!(
            "# HELP mover_last_exit_code The exit code of the last run.\n# TYPE mover_last_exit_code gauge\n\
             mover_last_exit_code{{{}}} 0\nmover_last_exit_code{{{}}} 11\n# HELP ",
            group("backup"),
            group("prune")
        );
        assert!(text.contains(&expected), "{text}");
        let counted = format!(
            "# TYPE mover_store_requests_total counter\nmover_store_requests_total{{{},request=\"list\",outcome=\"ok\"}} 3\n",
            group("backup")
        );
        assert!(text.contains(&counted), "{text}");
        assert!(text.contains("mover_last_success_timestamp_seconds"), "{text}");
        assert_eq!(text.matches("# TYPE mover_last_exit_code ").count(), 1);
    }

    #[test]
    fn a_failed_run_keeps_what_the_last_good_one_said() {
        let mut good = summary();
        let older = text(&samples(&good, None));
        // The next backup of the same object fails.
        good.operations.truncate(1);
        let mut backup = good.operations.pop().unwrap_or_default();
        (backup.outcome, backup.exit_code, backup.backup) =
            (crate::report::run_summary::Outcome::Failed, Some(22), None);
        backup.traffic.requests.truncate(1);
        good.operations.push(backup);
        let text = merged(&samples(&good, None), &older);
        let lines = |name: &str| text.lines().filter(|line| line.starts_with(name)).collect::<Vec<_>>();
        assert_eq!(lines("mover_last_success_timestamp_seconds{").len(), 1, "{text}");
        assert_eq!(
            lines("mover_snapshot_bytes{"),
            older.lines().filter(|line| line.starts_with("mover_snapshot_bytes{")).collect::<Vec<_>>()
        );
        let codes = lines("mover_last_exit_code{");
        assert!(
            codes.len() == 2
                && codes.iter().any(|line| line.ends_with(" 22"))
                && codes.iter().any(|line| line.ends_with(" 11")),
            "{text}"
        );
        assert_eq!(lines("mover_store_requests_total{").len(), 1, "a family is replaced whole: {text}");
        // Another object keeps its own.
        good.object.obj_name = "other".to_owned();
        let both = merged(&samples(&good, None), &text);
        assert_eq!(
            both.lines().filter(|line| line.starts_with("mover_last_exit_code{")).count(),
            3,
            "{both}"
        );
    }

    #[test]
    fn labels_are_escaped() {
        assert_eq!(label("a", "x\"\\\ny"), r#"a="x\"\\\ny""#);
    }
}
