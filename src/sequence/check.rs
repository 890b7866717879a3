//! `check`: configuration to options, outcome to exit code.

use super::Sequence;
use crate::check::Reading;
use crate::config::maintenance::CheckReading;
use crate::error::Result;
use crate::ops;
use crate::report::Operation as Reported;

impl Sequence<'_> {
    pub(super) fn check(&mut self) -> Result<()> {
        let repository = self.repository(false)?;
        self.monitor().begin(Reported::Other);
        let reading = match self.config.maintenance.reading {
            CheckReading::Structure => Reading::Structure,
            CheckReading::All => Reading::All,
            CheckReading::Percent(percent) => Reading::Percent(percent),
            CheckReading::Bytes(bytes) => Reading::Bytes(bytes),
            CheckReading::Part { part, parts } => Reading::Part { part, parts },
        };
        let location = repository.backend().location();
        let summary = ops::check::run(&self.session(repository), reading)?;
        self.monitor().checked(&summary);
        ops::check::verdict(&summary, &location).map_or(Ok(()), Err)
    }
}
