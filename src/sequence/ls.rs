//! `ls`: configuration to options, nothing eligible to its outcome.

use std::io::IsTerminal;

use super::Sequence;
use crate::error::Result;
use crate::ops;
use crate::ops::ls::{LsOptions, Outcome};

impl Sequence<'_> {
    pub(super) fn ls(&mut self) -> Result<()> {
        let repository = self.repository(false)?;
        let (selection, filter) = self.selected();
        let output = &self.config.output;
        let terminal = std::io::stdout().is_terminal();
        let options = LsOptions {
            subfolder: self.config.subfolder.clone(),
            json: output.json,
            terminal,
            zone: output.zones.shown.clone(),
        };
        match ops::ls::run(&self.session(repository), &selection, &filter, &options)? {
            Outcome::Listed(_) => Ok(()),
            Outcome::NothingEligible => {
                self.monitor().line("No eligible snapshots found");
                self.nothing("no eligible snapshot", &self.config.repository.url.to_string())
            }
        }
    }
}
