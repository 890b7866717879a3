//! Who else is told of a run: files, metrics, messages.
//!
//! What is wrong here is a usage error like any other; what fails later never fails the run.

use std::path::PathBuf;

use super::env::Lookup;
use super::operation::Operation;
use super::variables::{MOVER_NAME, MOVER_NAMESPACE, MOVER_REPORT_FILE, MOVER_TERMINATION_LOG};
use crate::error::Result;
use crate::host::pod_namespace;
use crate::report::run_summary::Object;

/// Every way out of a run's summary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OutletsConfig {
    /// Whom the run serves.
    pub object: Object,
    /// `MOVER_TERMINATION_LOG`; none: Kubernetes' own file, where it is.
    pub termination_log: Option<PathBuf>,
    /// `MOVER_REPORT_FILE`.
    pub report_file: Option<PathBuf>,
}

impl OutletsConfig {
    /// From the variables.
    pub fn parse(lookup: &Lookup, operations: &[Operation]) -> Result<Self> {
        Ok(Self {
            object: object(lookup, operations)?,
            termination_log: lookup.path(&MOVER_TERMINATION_LOG),
            report_file: lookup.path(&MOVER_REPORT_FILE),
        })
    }
}

/// Names are labels only, so a guess by the pod's name will do.
fn object(lookup: &Lookup, operations: &[Operation]) -> Result<Object> {
    let kernels = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let role = if operations.contains(&Operation::Backup) {
        "source"
    } else if operations.contains(&Operation::Restore) {
        "destination"
    } else {
        "maintenance"
    };
    Ok(Object {
        obj_name: lookup.text(&MOVER_NAME)?.map_or_else(|| name_of_pod(&kernels()).to_owned(), str::to_owned),
        obj_namespace: lookup.text(&MOVER_NAMESPACE)?.map_or_else(pod_namespace, str::to_owned),
        role,
    })
}

/// The object that a pod of `VolSync` serves: `volsync-src-<name>-<five characters>`; of any other, its name.
fn name_of_pod(pod: &str) -> &str {
    let own = pod.strip_prefix("volsync-src-").or_else(|| pod.strip_prefix("volsync-dst-"));
    match own.and_then(|own| own.rsplit_once('-')) {
        Some((name, random)) if random.len() == 5 && !name.is_empty() => name,
        _ => pod,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_of_volsync_is_called_by_its_object() {
        let cases = [
            ("volsync-src-app-data-x7k2p", "app-data"),
            ("volsync-dst-app-q9z4w", "app"),
            ("volsync-src-app", "volsync-src-app"),
            ("volsync-src--q9z4w", "volsync-src--q9z4w"),
            ("node-1", "node-1"),
            ("", ""),
        ];
        for (pod, name) in cases {
            assert_eq!(name_of_pod(pod), name);
        }
    }
}
