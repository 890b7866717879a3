//! Sealing and opening: AES-256-CTR with a Poly1305-AES tag over the ciphertext (restic design, "Keys,
//! Encryption and MAC").
//!
//! ```text
//! sealed = nonce (16) ‖ ciphertext (as long as the plaintext) ‖ tag (16)
//! tag    = Poly1305(key = r ‖ AES-128-k(nonce), message = ciphertext)
//! ```
//!
//! Nothing is decrypted before its tag was compared, in constant time. Keys are wiped on drop and have no
//! readable `Debug`.

use std::fmt;

use aes::cipher::{BlockCipherEncrypt, InnerIvInit, KeyInit, StreamCipherCore};
use aes::{Aes128, Aes256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::poly1305;
use crate::error::Result;
use crate::random::{Random, random_array};

/// Bytes before the ciphertext.
pub const NONCE_BYTES: usize = 16;
/// Bytes after the ciphertext.
pub const TAG_BYTES: usize = 16;
/// What sealing adds to a plaintext, in bytes.
pub const SEAL_BYTES: usize = NONCE_BYTES + TAG_BYTES;

/// A message that is too short, or whose tag does not match: damaged, or sealed under another key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its authentication tag does not match: damaged, or of another key")]
pub struct NotAuthentic;

/// An encryption key with its MAC key: the master key of a repository, or what scrypt makes of a password.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealKey {
    encrypt: [u8; 32],
    mac_k: [u8; 16],
    mac_r: [u8; 16],
}

impl fmt::Debug for SealKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SealKey(***)")
    }
}

/// The JSON form inside a key file: `{"mac":{"k":…,"r":…},"encrypt":…}`, base64.
#[derive(Serialize, Deserialize)]
struct KeyJson {
    mac: MacJson,
    encrypt: String,
}

#[derive(Serialize, Deserialize)]
struct MacJson {
    k: String,
    r: String,
}

impl SealKey {
    /// A new random key.
    pub fn random(random: &dyn Random) -> Result<Self> {
        let mut bytes = Zeroizing::new([0_u8; 64]);
        random.fill(bytes.as_mut_slice())?;
        let mut key = Self::from_bytes(&bytes);
        key.clamp();
        Ok(key)
    }

    /// `encrypt (32) ‖ k (16) ‖ r (16)`: the layout of scrypt's output.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        let mut key = Self { encrypt: [0; 32], mac_k: [0; 16], mac_r: [0; 16] };
        let (encrypt, mac) = bytes.split_at(32);
        let (mac_k, mac_r) = mac.split_at(16);
        key.encrypt.copy_from_slice(encrypt);
        key.mac_k.copy_from_slice(mac_k);
        key.mac_r.copy_from_slice(mac_r);
        key
    }

    /// From the JSON inside a key file.
    #[must_use]
    pub fn from_json(json: &[u8]) -> Option<Self> {
        let parsed: KeyJson = serde_json::from_slice(json).ok()?;
        let mut bytes = Zeroizing::new([0_u8; 64]);
        let mut filled = 0;
        for (text, length) in [(parsed.encrypt, 32), (parsed.mac.k, 16), (parsed.mac.r, 16)] {
            let text = Zeroizing::new(text);
            let part = Zeroizing::new(STANDARD.decode(text.as_bytes()).ok()?);
            bytes.get_mut(filled..filled + length)?.copy_from_slice(part.get(..length)?);
            filled += length;
        }
        Some(Self::from_bytes(&bytes))
    }

    /// The JSON inside a key file.
    #[must_use]
    pub fn to_json(&self) -> Zeroizing<Vec<u8>> {
        let json = KeyJson {
            mac: MacJson { k: STANDARD.encode(self.mac_k), r: STANDARD.encode(self.mac_r) },
            encrypt: STANDARD.encode(self.encrypt),
        };
        Zeroizing::new(serde_json::to_vec(&json).unwrap_or_default())
    }

    /// Clamps `r` as Poly1305 wants it, so that the stored key is what is used.
    fn clamp(&mut self) {
        for (position, byte) in self.mac_r.iter_mut().enumerate() {
            match position {
                3 | 7 | 11 | 15 => *byte &= 0x0f,
                4 | 8 | 12 => *byte &= 0xfc,
                _ => {}
            }
        }
    }

    /// The expanded form that seals and opens.
    #[must_use]
    pub fn cipher(&self) -> Cipher {
        Cipher {
            data: Aes256::new(&self.encrypt.into()),
            nonce: Aes128::new(&self.mac_k.into()),
            mac: poly1305::Key::new(&self.mac_r),
            cache_key: Zeroizing::new(self.derive("volmover 2026-11-21 sealed cache")),
        }
    }

    /// A key for something else, from which this one cannot be found out.
    fn derive(&self, context: &str) -> [u8; 32] {
        let mut deriving = blake3::Hasher::new_derive_key(context);
        deriving.update(&self.encrypt).update(&self.mac_k).update(&self.mac_r);
        deriving.finalize().into()
    }
}

type Counter = ctr::flavors::Ctr128BE;

/// A key, expanded once and used for every message; shared by all workers.
#[derive(Clone)]
pub struct Cipher {
    data: Aes256,
    nonce: Aes128,
    mac: poly1305::Key,
    cache_key: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for Cipher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Cipher(***)")
    }
}

impl Cipher {
    /// The key of what this machine keeps of the repository.
    pub(super) fn cache_key(&self) -> &[u8; 32] {
        &self.cache_key
    }

    /// Seals in place: `buffer` is 16 bytes of room, the plaintext, 16 bytes of room.
    /// A shorter buffer than the room itself is left alone.
    pub fn seal_in_place(&self, buffer: &mut [u8], random: &dyn Random) -> Result<()> {
        let nonce: [u8; NONCE_BYTES] = random_array(random)?;
        if let Some((head, text, tail)) = split_sealed_mut(buffer) {
            head.copy_from_slice(&nonce);
            self.keystream(&nonce, |stream| stream.apply_keystream_partial(text.into()));
            tail.copy_from_slice(&self.mac.seal(&self.pad(&nonce), text)?);
        }
        Ok(())
    }

    /// Seals a copy.
    pub fn seal(&self, plaintext: &[u8], random: &dyn Random) -> Result<Vec<u8>> {
        let mut sealed = Vec::with_capacity(plaintext.len() + SEAL_BYTES);
        sealed.extend_from_slice(&[0; NONCE_BYTES]);
        sealed.extend_from_slice(plaintext);
        sealed.extend_from_slice(&[0; TAG_BYTES]);
        self.seal_in_place(&mut sealed, random)?;
        Ok(sealed)
    }

    /// Opens into `plaintext`, whose old content is dropped.
    pub fn open_into(&self, sealed: &[u8], plaintext: &mut Vec<u8>) -> Result<(), NotAuthentic> {
        let (nonce, text) = self.authenticate(sealed)?;
        plaintext.clear();
        plaintext.extend_from_slice(text);
        self.keystream(&nonce, |stream| stream.apply_keystream_partial(plaintext.as_mut_slice().into()));
        Ok(())
    }

    /// Opens to `plaintext`, which must have the plaintext's length.
    pub fn open_to(&self, sealed: &[u8], plaintext: &mut [u8]) -> Result<(), NotAuthentic> {
        let (nonce, text) = self.authenticate(sealed)?;
        if plaintext.len() != text.len() {
            return Err(NotAuthentic);
        }
        plaintext.copy_from_slice(text);
        self.keystream(&nonce, |stream| stream.apply_keystream_partial(plaintext.into()));
        Ok(())
    }

    /// Opens in place, and returns where the plaintext now stands.
    pub fn open_in_place<'a>(&self, sealed: &'a mut [u8]) -> Result<&'a mut [u8], NotAuthentic> {
        let (nonce, _) = self.authenticate(sealed)?;
        let (_, text, _) = split_sealed_mut(sealed).ok_or(NotAuthentic)?;
        self.keystream(&nonce, |stream| stream.apply_keystream_partial((&mut *text).into()));
        Ok(text)
    }

    fn authenticate<'a>(&self, sealed: &'a [u8]) -> Result<([u8; NONCE_BYTES], &'a [u8]), NotAuthentic> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(NotAuthentic)?;
        let (text, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(NotAuthentic)?;
        let right = self.mac.tag(&self.pad(nonce), text);
        if bool::from(right.ct_eq(tag)) { Ok((*nonce, text)) } else { Err(NotAuthentic) }
    }

    fn keystream(&self, nonce: &[u8; 16], apply: impl FnOnce(ctr::CtrCore<&Aes256, Counter>)) {
        apply(ctr::CtrCore::inner_iv_init(&self.data, nonce.into()));
    }

    fn pad(&self, nonce: &[u8; NONCE_BYTES]) -> [u8; 16] {
        let mut block = (*nonce).into();
        self.nonce.encrypt_block(&mut block);
        block.into()
    }
}

fn split_sealed_mut(sealed: &mut [u8]) -> Option<(&mut [u8], &mut [u8], &mut [u8])> {
    let (head, rest) = sealed.split_at_mut_checked(NONCE_BYTES)?;
    let text_bytes = rest.len().checked_sub(TAG_BYTES)?;
    let (text, tail) = rest.split_at_mut_checked(text_bytes)?;
    Some((head, text, tail))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn opens_what_it_sealed_and_rejects_every_flipped_byte() {
        let cipher = SealKey::random(&SystemRandom).unwrap().cipher();
        for length in [0, 1, 15, 16, 17, 100] {
            let plain: Vec<u8> = (0..length).map(|byte: u8| byte.wrapping_mul(7)).collect();
            let sealed = cipher.seal(&plain, &SystemRandom).unwrap();
            assert_eq!(sealed.len(), plain.len() + SEAL_BYTES);
            let mut opened = Vec::new();
            cipher.open_into(&sealed, &mut opened).unwrap();
            assert_eq!(opened, plain);
            for position in 0..sealed.len() {
                let mut broken = sealed.clone();
                broken[position] ^= 1;
                assert_eq!(cipher.open_into(&broken, &mut opened), Err(NotAuthentic));
            }
        }
    }

    #[test]
    fn rejects_what_is_too_short() {
        let cipher = SealKey::random(&SystemRandom).unwrap().cipher();
        for length in 0..SEAL_BYTES {
            assert_eq!(cipher.open_into(&vec![0; length], &mut Vec::new()), Err(NotAuthentic));
        }
    }

    #[test]
    fn key_survives_json() {
        let key = SealKey::random(&SystemRandom).unwrap();
        let again = SealKey::from_json(&key.to_json()).unwrap();
        let sealed = key.cipher().seal(b"x", &SystemRandom).unwrap();
        again.cipher().open_into(&sealed, &mut Vec::new()).unwrap();
    }
}
