//! `stats`: configuration to options. It sees everything; a variable that is set narrows it.

use super::{Sequence, only};
use crate::config::Config;
use crate::error::Result;
use crate::ops;
use crate::ops::stats::StatsOptions;
use crate::report::Operation as Reported;
use crate::restore::select::Filter;

impl Sequence<'_> {
    pub(super) fn stats(&mut self) -> Result<()> {
        let repository = self.repository(false)?;
        self.monitor().begin(Reported::Other);
        let Config { identity, output, snapshot, .. } = self.config;
        let tags = &identity.tags;
        let options = StatsOptions {
            selection: self.config.snapshot_is_set.then(|| super::selection(snapshot)),
            subfolder: self.config.subfolder.clone(),
            filter: Filter {
                hosts: only(identity.host_if_set()),
                paths: only(identity.path_if_set()),
                tags: if tags.is_empty() { Vec::new() } else { vec![tags.clone()] },
            },
            json: output.json,
            zone: output.zones.shown.clone(),
        };
        let text = ops::stats::run(&self.session(repository), &options)?;
        self.monitor().output(&text);
        Ok(())
    }
}
