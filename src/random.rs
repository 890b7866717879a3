//! Injected randomness: the only place that asks the operating system for random bytes.

use crate::error::{Error, ErrorKind, Result};

/// A source of random bytes. Nonces and keys depend on it: only tests may use a weak one.
pub trait Random: Send + Sync {
    /// Fills `buffer` with random bytes.
    fn fill(&self, buffer: &mut [u8]) -> Result<()>;
}

/// The operating system's source.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, buffer: &mut [u8]) -> Result<()> {
        getrandom::fill(buffer)
            .map_err(|cause| Error::new(ErrorKind::Other, "no random bytes from the system").because(cause))
    }
}

/// Random bytes as an array.
pub fn random_array<const N: usize>(random: &dyn Random) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    random.fill(&mut bytes)?;
    Ok(bytes)
}
