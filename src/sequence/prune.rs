//! `prune`: configuration to options, outcome to exit code.

use super::Sequence;
use crate::error::{ErrorKind, Result};
use crate::ops::prune::{self, PruneOptions};
use crate::report::Operation as Reported;

impl Sequence<'_> {
    pub(super) fn prune(&mut self) -> Result<()> {
        if !self.config.maintenance.prune {
            self.monitor().line("prune skipped: MOVER_PRUNE=off");
            self.monitor().skipped();
            return Ok(());
        }
        let repository = match self.repository(false) {
            // The backup before found nothing to save and created nothing.
            Err(error) if error.kind == ErrorKind::RepositoryMissing && self.skipped_empty_source => {
                self.monitor().line("prune skipped: there is no repository yet");
                self.monitor().skipped();
                return Ok(());
            }
            opened => opened?,
        };
        self.monitor().begin(Reported::Other);
        let summary = prune::run(&self.session(repository), &self.prune_options())?;
        self.monitor().pruned(&summary);
        Ok(())
    }

    pub(super) fn prune_options(&self) -> PruneOptions {
        let told = &self.config.maintenance;
        PruneOptions {
            unused_max: told.unused_max,
            repack_bytes_max: told.repack_bytes_max,
            repack_below_bytes: told.repack_below_bytes,
            pack_bytes: self.config.repository.pack_bytes as usize,
            cacheable_only: false,
            uncompressed: false,
            expected: self.saved.clone(),
            without: Vec::new(),
            dry_run: self.config.run.dry_run,
        }
    }
}
