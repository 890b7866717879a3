//! `repair-index` and `repair-snapshots`: configuration to options. A dry run is the default.

use super::Sequence;
use crate::error::Result;
use crate::ops;
use crate::report::Operation as Reported;

impl Sequence<'_> {
    pub(super) fn repair_index(&mut self) -> Result<()> {
        let repository = self.stored_repository()?;
        self.monitor().begin(Reported::Other);
        ops::repair::index(&self.session(repository), self.repairs()).map(|_| ())
    }

    pub(super) fn repair_snapshots(&mut self) -> Result<()> {
        let repository = self.stored_repository()?;
        self.monitor().begin(Reported::Other);
        ops::repair::snapshots(&self.session(repository), self.repairs()).map(|_| ())
    }

    fn repairs(&self) -> bool {
        self.config.maintenance.repair && !self.config.run.dry_run
    }
}
