//! `report`: configuration to options, the report to its page or lines, what it lacks to the exit code.
//!
//! The page replaces an older one when it is whole: a run that fails before that leaves the older one.

use super::{Sequence, only};
use crate::config::Config;
use crate::config::operation::Operation;
use crate::error::{Error, ErrorKind, Result};
use crate::ops;
use crate::ops::report::{ReportOptions, Upkeep};
use crate::outlets::{file, last_success};
use crate::report::Operation as Reported;
use crate::restore::select::Filter;

impl Sequence<'_> {
    pub(super) fn report(&mut self) -> Result<()> {
        let policy = self.forget_choice()?;
        let repository = self.repository(false)?;
        self.monitor().begin(Reported::Other);
        let Config { identity, output, maintenance, .. } = self.config;
        let tags = &identity.tags;
        let options = ReportOptions {
            location: self.config.repository.url.to_string(),
            filter: Filter {
                hosts: only(identity.host_if_set()),
                paths: only(identity.path_if_set()),
                tags: if tags.is_empty() { Vec::new() } else { vec![tags.clone()] },
            },
            policy,
            unless_tagged: self.unless_tagged(),
            unused_max: maintenance.unused_max,
            upkeep: self.known_upkeep(),
            zone: output.zones.shown.clone(),
        };
        let report = ops::report::run(&self.session(repository), &options)?;
        self.monitor().output(&if output.json { report.json() } else { report.text() });
        if let Some(path) = &output.report_html {
            file::replace(path, &report.html()).map_err(|cause| {
                Error::new(ErrorKind::Other, "cannot write the report")
                    .at("MOVER_REPORT_HTML")
                    .because(cause)
                    .then("Name a file that can be written, in a folder that is there")
            })?;
            self.monitor().line(&format!("wrote the report to {}", path.display()));
        }
        report.verdict()
    }

    /// What this run did, and else what the file of metrics remembers.
    fn known_upkeep(&self) -> Upkeep {
        let outlets = &self.config.outlets;
        let file = outlets.metrics_file.as_deref();
        let kept = file.map(|path| last_success::read(path, &outlets.object)).unwrap_or_default();
        let Upkeep { check, verify, prune } = self.upkeep;
        Upkeep { check: check.or(kept.check), verify: verify.or(kept.verify), prune: prune.or(kept.prune) }
    }

    /// Notes what this run looked after.
    pub(super) fn remember(&mut self, operation: Operation) {
        let now = Some(self.around.clock.now());
        match operation {
            Operation::Check => self.upkeep.check = now,
            Operation::Verify => self.upkeep.verify = now,
            Operation::Prune if self.config.maintenance.prune => self.upkeep.prune = now,
            _ => {}
        }
    }
}
