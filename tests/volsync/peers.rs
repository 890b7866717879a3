//! restic on the other side, as VolSync's old mover called it: 0.18, host `volsync`, from within `/data`.

use crate::job::Store;
use crate::support::restic::Restic;

/// restic on a store; `None` where that version is missing and not required.
pub fn restic(version: &str, place: &dyn Store) -> Option<Restic> {
    let (url, variables) = place.for_restic();
    let restic = Restic::at(version, &url)?;
    Some(variables.iter().fold(restic, |restic, (name, value)| restic.with(name, value)))
}
