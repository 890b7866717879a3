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
use crate::error::{Error, ErrorKind, Result};
use crate::random::{Random, random_array};

/// How much memory a key file may ask scrypt for, in bytes.
pub const SCRYPT_BYTES_MAX: u64 = 1 << 30;

/// scrypt's cost: `128 · N · r` bytes of memory and `N · r · p` work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScryptCost {
    /// A power of two.
    pub n: u32,
    /// Block size.
    pub r: u32,
    /// Lanes.
    pub p: u32,
}

impl ScryptCost {
    /// What restic's calibration (500 ms, 60 MiB) arrives at on current machines.
    pub const RESTIC: Self = Self { n: 1 << 15, r: 8, p: 8 };
    /// For tests only: no strength at all, and no wait.
    pub const CHEAP: Self = Self { n: 128, r: 1, p: 1 };

    /// Memory in bytes.
    #[must_use]
    pub fn memory_bytes(self) -> u64 {
        128_u64.saturating_mul(u64::from(self.n)).saturating_mul(u64::from(self.r))
    }
}

/// What a derivation may use: scrypt's lanes do not depend on each other, and each takes the memory of the cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Lanes computed at once, at most.
    pub threads: usize,
    /// Memory for all of them in bytes; one lane is computed whatever it takes.
    pub memory_bytes: u64,
}

impl Effort {
    /// One lane after the other.
    pub const LEAST: Self = Self { threads: 1, memory_bytes: 0 };

    fn lanes(self, cost: ScryptCost) -> usize {
        let fit = self.memory_bytes / cost.memory_bytes().max(1);
        self.threads.min(cost.p as usize).min(usize::try_from(fit).unwrap_or(usize::MAX)).max(1)
    }
}

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
    /// It asks for more memory than is allowed.
    #[error("its scrypt parameters ask for {0} MiB of memory, more than the 1024 MiB allowed")]
    TooCostly(u64),
    /// The system gives no threads.
    #[error("cannot start a thread: {0}")]
    NoThreads(String),
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

    /// Seals `master` under `password`.
    pub fn create(
        password: &[u8],
        master: &SealKey,
        (cost, effort): (ScryptCost, Effort),
        (hostname, username): (&str, &str),
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<Self> {
        let salt: [u8; 64] = random_array(random)?;
        let user_key = derive(password, &salt, cost, effort).map_err(|cause| {
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

    /// Opens the master key.
    pub fn open(&self, password: &[u8], effort: Effort) -> Result<SealKey, KeyError> {
        if self.kdf != "scrypt" {
            return Err(KeyError::Damaged(format!("unknown key derivation {:?}", self.kdf)));
        }
        let decode = |text: &str| {
            STANDARD.decode(text).map_err(|cause| KeyError::Damaged(format!("not base64: {cause}")))
        };
        let (salt, sealed) = (decode(&self.salt)?, decode(&self.data)?);
        let cost = ScryptCost { n: self.n, r: self.r, p: self.p };
        let user_key = derive(password, &salt, cost, effort)?;
        let mut json = Zeroizing::new(Vec::new());
        user_key.cipher().open_into(&sealed, &mut json).map_err(|_| KeyError::WrongPassword)?;
        SealKey::from_json(&json)
            .ok_or_else(|| KeyError::Damaged("the master key in it does not decode".to_owned()))
    }
}

fn derive(password: &[u8], salt: &[u8], cost: ScryptCost, effort: Effort) -> Result<SealKey, KeyError> {
    if cost.memory_bytes() > SCRYPT_BYTES_MAX {
        return Err(KeyError::TooCostly(cost.memory_bytes() >> 20));
    }
    let invalid = || KeyError::Damaged(format!("invalid scrypt parameters {cost:?}"));
    if !cost.n.is_power_of_two() {
        return Err(invalid());
    }
    let parameters =
        scrypt::Params::new(cost.n.trailing_zeros() as u8, cost.r, cost.p).map_err(|_| invalid())?;
    let mut bytes = Zeroizing::new([0_u8; 64]);
    let threads = rayon::ThreadPoolBuilder::new()
        .num_threads(effort.lanes(cost))
        .build()
        .map_err(|cause| KeyError::NoThreads(cause.to_string()))?;
    threads
        .install(|| scrypt::scrypt(password, salt, &parameters, bytes.as_mut_slice()))
        .map_err(|_| invalid())?;
    Ok(SealKey::from_bytes(&bytes))
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
            (ScryptCost::CHEAP, Effort::LEAST),
            ("h", "u"),
            Timestamp::UNIX_EPOCH,
            &SystemRandom,
        )
        .unwrap()
    }

    #[test]
    fn lanes_at_once_give_the_same_key() {
        let cost = ScryptCost { n: 64, r: 2, p: 8 };
        let many = Effort { threads: 3, memory_bytes: 1 << 20 };
        let [one, three] = [Effort::LEAST, many].map(|effort| derive(b"p", b"salt", cost, effort).unwrap());
        let sealed = one.cipher().seal(b"plain", &SystemRandom).unwrap();
        let mut plain = Vec::new();
        three.cipher().open_into(&sealed, &mut plain).unwrap();
        assert_eq!(plain, b"plain");
    }

    #[test]
    fn lanes_are_bounded_by_threads_memory_and_cost() {
        let lanes = |threads, mib: u64| Effort { threads, memory_bytes: mib << 20 }.lanes(ScryptCost::RESTIC);
        assert_eq!((lanes(2, 256), lanes(16, 1024), lanes(16, 100), lanes(4, 0)), (2, 8, 3, 1));
    }

    #[test]
    fn opens_with_its_password_only() {
        let stored = KeyFile::decode(&key_file().encode()).unwrap();
        stored.open(b"p", Effort::LEAST).unwrap();
        assert_eq!(stored.open(b"q", Effort::LEAST).unwrap_err(), KeyError::WrongPassword);
    }

    #[test]
    fn refuses_parameters_that_would_take_all_memory() {
        let mut stored = key_file();
        stored.n = 1 << 31;
        assert!(matches!(stored.open(b"p", Effort::LEAST), Err(KeyError::TooCostly(_))));
        stored.n = 3;
        assert!(matches!(stored.open(b"p", Effort::LEAST), Err(KeyError::Damaged(_))));
    }
}
