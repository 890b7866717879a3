//! Key files: a password opens a key file, which holds the master key (restic design, "Keys, Encryption
//! and MAC").
//!
//! A key file is plain JSON with scrypt's parameters, a salt, and the master key sealed under what scrypt
//! makes of the password. Any parameters are honoured, within a memory limit: a key file comes from the
//! store, and must not be able to ask for all memory of this machine.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::crypto::SealKey;
use super::scrypt::{self, ScryptCost, ScryptError};
use crate::error::{Error, ErrorKind, Result};
use crate::random::{Random, random_array};

/// A key file, fields in restic's order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyFile {
    /// When it was made, RFC 3339.
    #[serde(default)]
    pub created: String,
    /// By whom.
    #[serde(default)]
    pub username: String,
    /// Where.
    #[serde(default)]
    pub hostname: String,
    kdf: String,
    #[serde(rename = "N")]
    n: u32,
    r: u32,
    p: u32,
    salt: String,
    data: String,
}

/// Why a key file did not give its master key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The password is not the one of this key.
    #[error("the password does not open it")]
    WrongPassword,
    /// The file is no key file, or is damaged.
    #[error("{0}")]
    Damaged(String),
    /// The system gives no memory or no threads.
    #[error("{0}")]
    Refused(String),
}

impl KeyFile {
    /// Reads a stored key file.
    pub fn decode(json: &[u8]) -> Result<Self, KeyError> {
        serde_json::from_slice(json).map_err(|cause| KeyError::Damaged(format!("not a key file: {cause}")))
    }

    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Seals `master` under `password`, by up to `threads` threads.
    pub fn create(
        password: &[u8],
        master: &SealKey,
        (cost, threads): (ScryptCost, usize),
        (hostname, username): (&str, &str),
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<Self> {
        let salt: [u8; 64] = random_array(random)?;
        let user_key = user_key(password, &salt, cost, threads).map_err(|cause| {
            Error::new(ErrorKind::Other, "deriving a key from the password failed").because(cause)
        })?;
        let data = user_key.cipher().seal(&master.to_json(), random)?;
        Ok(Self {
            created: now.to_string(),
            username: username.to_owned(),
            hostname: hostname.to_owned(),
            kdf: "scrypt".to_owned(),
            n: cost.n,
            r: cost.r,
            p: cost.p,
            salt: STANDARD.encode(salt),
            data: STANDARD.encode(data),
        })
    }

    /// Opens the master key, by up to `threads` threads.
    pub fn open(&self, password: &[u8], threads: usize) -> Result<SealKey, KeyError> {
        if self.kdf != "scrypt" {
            return Err(KeyError::Damaged(format!("unknown key derivation {:?}", self.kdf)));
        }
        let decode = |text: &str| {
            STANDARD.decode(text).map_err(|cause| KeyError::Damaged(format!("not base64: {cause}")))
        };
        let (salt, sealed) = (decode(&self.salt)?, decode(&self.data)?);
        let cost = ScryptCost { n: self.n, r: self.r, p: self.p };
        let user_key = user_key(password, &salt, cost, threads)?;
        let mut json = Zeroizing::new(Vec::new());
        user_key.cipher().open_into(&sealed, &mut json).map_err(|_| KeyError::WrongPassword)?;
        SealKey::from_json(&json)
            .ok_or_else(|| KeyError::Damaged("the master key in it does not decode".to_owned()))
    }
}

fn user_key(password: &[u8], salt: &[u8], cost: ScryptCost, threads: usize) -> Result<SealKey, KeyError> {
    let mut bytes = Zeroizing::new([0_u8; 64]);
    match scrypt::derive(password, salt, cost, threads, bytes.as_mut_slice()) {
        Ok(()) => Ok(SealKey::from_bytes(&bytes)),
        Err(ScryptError::Refused(cause)) => Err(KeyError::Refused(cause)),
        Err(error) => Err(KeyError::Damaged(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::random::SystemRandom;

    fn key_file() -> KeyFile {
        let master = SealKey::random(&SystemRandom).unwrap();
        KeyFile::create(
            b"p",
            &master,
            (ScryptCost::CHEAP, 1),
            ("h", "u"),
            Timestamp::UNIX_EPOCH,
            &SystemRandom,
        )
        .unwrap()
    }

    #[test]
    fn opens_with_its_password_only() {
        let stored = KeyFile::decode(&key_file().encode()).unwrap();
        stored.open(b"p", 1).unwrap();
        assert_eq!(stored.open(b"q", 1).unwrap_err(), KeyError::WrongPassword);
    }

    #[test]
    fn refuses_parameters_that_would_take_all_memory() {
        let mut stored = key_file();
        stored.n = 1 << 31;
        assert!(matches!(stored.open(b"p", 1), Err(KeyError::Damaged(_))));
        stored.n = 3;
        assert!(matches!(stored.open(b"p", 1), Err(KeyError::Damaged(_))));
    }
}
