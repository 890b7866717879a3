//! `prune`: configuration to options, outcome to exit code.

use super::Sequence;
use crate::error::{Error, Result};

impl Sequence<'_> {
    #[expect(clippy::unused_self, reason = "not built yet")]
    pub(super) fn prune(&mut self) -> Result<()> {
        Err(Error::usage("operation not supported yet").at("prune"))
    }
}
