//! When an object was last looked after, by the file of metrics that its runs keep.
//!
//! What cannot be read, or is of another object, says nothing: not known is not the same as never.

use std::path::Path;

use jiff::Timestamp;

use super::exposition::label;
use super::metrics::{CHECK_SUCCESS, Family, PRUNE_SUCCESS, VERIFY_SUCCESS};
use crate::ops::report::Upkeep;
use crate::report::run_summary::Object;

/// What the file says of an object, in whatever role.
#[must_use]
pub fn read(path: &Path, object: &Object) -> Upkeep {
    let text = std::fs::read_to_string(path).unwrap_or_else(|cause| {
        tracing::debug!("{}: {cause}", path.display());
        String::new()
    });
    find(&text, object)
}

fn find(text: &str, object: &Object) -> Upkeep {
    let own = format!(
        "{{{},{},",
        label("obj_name", &object.obj_name),
        label("obj_namespace", &object.obj_namespace)
    );
    let latest = |family: Family| {
        let of = text.lines().filter_map(|line| line.strip_prefix(family.name)?.strip_prefix(own.as_str()));
        let times = of.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        times.filter_map(|seconds| Timestamp::from_millisecond((seconds * 1000.0) as i64).ok()).max()
    };
    Upkeep { check: latest(CHECK_SUCCESS), verify: latest(VERIFY_SUCCESS), prune: latest(PRUNE_SUCCESS) }
}

#[cfg(test)]
mod tests {
    use super::super::{exposition, metrics};
    use super::*;
    use crate::report::run_summary::Outcome;
    use crate::report::run_summary::testing::summary;

    #[test]
    fn what_the_file_keeps_is_found_again() {
        let mut run = summary();
        for operation in &mut run.operations {
            (operation.outcome, operation.exit_code) = (Outcome::Success, Some(0));
        }
        let text = exposition::text(&metrics::samples(&run, None));
        let found = find(&text, &run.object);
        let ended = run.operations.iter().find(|of| of.operation == "prune").and_then(|of| of.ended);
        assert_eq!(found, Upkeep { prune: ended, ..Upkeep::default() });
        let other = Object { obj_name: "ap".to_owned(), ..run.object.clone() };
        assert_eq!(find(&text, &other), Upkeep::default());
        assert_eq!(find("mover_check_last_success_timestamp_seconds{x", &run.object), Upkeep::default());
    }
}
