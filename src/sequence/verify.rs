//! `verify`: configuration to options, results to reports and the exit code.
//!
//! The reports are written whatever comes of it, a wrong password too: a report that is missing would look like
//! a verify that nobody ran.

use std::path::Path;

use super::{Sequence, only};
use crate::config::Config;
use crate::error::{Error, ErrorKind, Result};
use crate::ops;
use crate::ops::verify::Chosen;
use crate::random::random_array;
use crate::report::Operation as Reported;
use crate::restore::select::Filter;
use crate::restore::stream::Sample;
use crate::verify::report::Report;
use crate::verify::{Sums, Verified, VerifyOptions};

impl Sequence<'_> {
    pub(super) fn verify(&mut self) -> Result<()> {
        let time = self.around.clock.now().to_string();
        let mut verified = Vec::new();
        let run = self.verify_all(&mut verified);
        let outcome = run.and_then(|()| outcome(&verified).map_or(Ok(()), Err));
        let report = Report {
            location: self.config.repository.url.to_string(),
            time,
            verified: &verified,
            error: outcome.as_ref().err(),
        };
        if self.config.output.json {
            self.monitor().output(&report.json_line());
        }
        let written = self.write_reports(&report);
        outcome.and(written)
    }

    fn verify_all(&mut self, verified: &mut Vec<Verified>) -> Result<()> {
        let options = self.verify_options()?;
        let repository = self.stored_repository()?;
        self.monitor().begin(Reported::Other);
        let Config { identity, output, verify, .. } = self.config;
        let (chosen, filter) = if verify.each {
            let (hosts, paths) = (only(identity.host_if_set()), only(identity.path_if_set()));
            (Chosen::LatestEach, Filter { hosts, paths, tags: Vec::new() })
        } else {
            let (selection, filter) = self.selected();
            (Chosen::One(selection), filter)
        };
        let session = self.session(repository);
        let folder = self.config.subfolder.as_deref();
        ops::verify::run(&session, &chosen, &filter, folder, &output.zones.shown, &options, verified)
    }

    fn verify_options(&self) -> Result<VerifyOptions> {
        let Config { verify, data_dir, .. } = self.config;
        let seed = match verify.seed {
            Some(seed) => seed,
            None => u64::from(u32::from_le_bytes(random_array(self.around.random.as_ref())?)),
        };
        Ok(VerifyOptions {
            scratch: verify.dir.clone().map(|dir| (dir, verify.keep)),
            live: verify.compare.then(|| data_dir.clone()),
            max_age: verify.max_age,
            min_files: verify.min_files,
            min_bytes: verify.min_bytes,
            sums: verify.sums.as_deref().map(Sums::read).transpose()?,
            sample: verify.sample_percent.map(|percent| Sample { percent, seed }),
            restore: crate::restore::RestoreOptions {
                delete: false,
                subfolder: None,
                include: Vec::new(),
                overwrite: crate::restore::Overwrite::Always,
                dry_run: false,
                ..self.restore_options(1)?
            },
        })
    }

    fn write_reports(&self, report: &Report<'_>) -> Result<()> {
        let config = &self.config.verify;
        let files = [
            ("MOVER_VERIFY_REPORT", &config.report, report.json()),
            ("MOVER_VERIFY_JUNIT", &config.junit, report.junit()),
        ];
        for (variable, file, text) in files {
            if let Some(file) = file {
                write(variable, file, &text)?;
            }
        }
        Ok(())
    }
}

/// Damage before anything else, then other failures, then conditions.
fn outcome(verified: &[Verified]) -> Option<Error> {
    let mut errors: Vec<Error> = verified.iter().filter_map(Verified::outcome).collect();
    errors.sort_by_key(|error| match error.kind {
        ErrorKind::Damaged => 0,
        ErrorKind::Condition => 2,
        _ => 1,
    });
    let others = errors.len().saturating_sub(1);
    let mut first = errors.into_iter().next()?;
    if others > 0 {
        first.what = format!("{} ({others} other snapshots failed as well)", first.what);
    }
    Some(first)
}

fn write(variable: &str, file: &Path, text: &str) -> Result<()> {
    std::fs::write(file, text).map_err(|cause| {
        Error::new(ErrorKind::Other, "cannot write the report")
            .at(format!("{variable}={}", file.display()))
            .because(cause)
            .then("Name a file that can be written")
    })
}
