//! `check`: configuration to options, outcome to exit code.

use super::Sequence;
use crate::error::Result;
use crate::ops;
use crate::report::Operation as Reported;

impl Sequence<'_> {
    pub(super) fn check(&mut self) -> Result<()> {
        let repository = self.stored_repository()?;
        self.monitor().begin(Reported::Other);
        let location = repository.backend().location();
        let summary = ops::check::run(&self.session(repository), self.config.maintenance.reading)?;
        self.monitor().checked(&summary);
        ops::check::verdict(&summary, &location).map_or(Ok(()), Err)
    }
}
