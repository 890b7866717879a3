//! `unlock`: configuration to options; a missing repository has no locks.

use super::Sequence;
use crate::error::{Error, Result};

impl Sequence<'_> {
    #[expect(clippy::unused_self, reason = "not built yet")]
    pub(super) fn unlock(&mut self) -> Result<()> {
        Err(Error::usage("operation not supported yet").at("unlock"))
    }
}
