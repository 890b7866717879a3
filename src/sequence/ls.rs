//! `ls`: configuration to options.

use super::Sequence;
use crate::error::{Error, Result};

impl Sequence<'_> {
    #[expect(clippy::unused_self, reason = "not built yet")]
    pub(super) fn ls(&mut self) -> Result<()> {
        Err(Error::usage("operation not supported yet").at("ls"))
    }
}
