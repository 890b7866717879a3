//! `unlock`: configuration to options; a missing repository has no locks.

use super::Sequence;
use crate::error::{ErrorKind, Result};
use crate::ops::{self, unlock::UnlockOptions};
use crate::report::Operation as Reported;

impl Sequence<'_> {
    pub(super) fn unlock(&mut self) -> Result<()> {
        self.monitor().begin(Reported::Other);
        let repository = match self.repository(false) {
            Err(error) if error.kind == ErrorKind::RepositoryMissing => {
                let url = &self.config.repository.url;
                self.monitor().line(&format!("no repository at {url}, so there are no locks to remove"));
                return Ok(());
            }
            opened => opened?,
        };
        let options =
            UnlockOptions { all: self.config.maintenance.unlock_all, dry_run: self.config.run.dry_run };
        let locks = ops::unlock::run(&self.session(repository), options)?;
        match locks {
            // restic says nothing then.
            0 => {}
            _ if options.dry_run => self.monitor().line(&format!("would remove {locks} locks")),
            _ => self.monitor().line(&format!("successfully removed {locks} locks")),
        }
        Ok(())
    }
}
