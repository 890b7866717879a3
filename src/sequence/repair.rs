//! `repair-index` and `repair-snapshots`: configuration to options.

use super::Sequence;
use crate::error::{Error, Result};

impl Sequence<'_> {
    #[expect(clippy::unused_self, reason = "not built yet")]
    pub(super) fn repair_index(&mut self) -> Result<()> {
        Err(Error::usage("operation not supported yet").at("repair-index"))
    }

    #[expect(clippy::unused_self, reason = "not built yet")]
    pub(super) fn repair_snapshots(&mut self) -> Result<()> {
        Err(Error::usage("operation not supported yet").at("repair-snapshots"))
    }
}
