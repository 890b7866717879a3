//! The `config` file: what a repository is (restic design, "Config").

use serde::{Deserialize, Serialize};

use super::polynomial::{DEGREE, Polynomial};
use crate::error::{Error, ErrorKind, Result};
use crate::random::{Random, random_array};
use crate::repository::Id;

/// The version that `init` creates.
pub const VERSION_NEW: u32 = 2;

/// The content of `config`, fields in restic's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepositoryConfig {
    /// 1 or 2; 2 compresses.
    pub version: u32,
    /// 64 random hex digits that name the repository.
    pub id: String,
    /// What the chunker is built on.
    pub chunker_polynomial: Polynomial,
}

impl RepositoryConfig {
    /// A new repository.
    pub fn create(random: &dyn Random) -> Result<Self> {
        Ok(Self {
            version: VERSION_NEW,
            id: Id(random_array(random)?).hex(),
            chunker_polynomial: Polynomial::random(random)?,
        })
    }

    /// Reads the plaintext of `config`, and refuses what this program cannot write to.
    pub fn decode(json: &[u8]) -> Result<Self> {
        let damaged = |cause: String| Error::damaged("cannot read the repository's config", "config", cause);
        let config: Self = serde_json::from_slice(json).map_err(|cause| damaged(cause.to_string()))?;
        if !(1..=VERSION_NEW).contains(&config.version) {
            return Err(Error::new(ErrorKind::Other, "unsupported repository version")
                .at("config")
                .because(format!("version {}, this program knows 1 and 2", config.version)));
        }
        if config.chunker_polynomial.degree() != DEGREE {
            return Err(damaged("its chunker polynomial has a wrong degree".to_owned()));
        }
        Ok(config)
    }

    /// The plaintext to seal and store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}
