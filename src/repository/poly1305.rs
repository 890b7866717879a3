//! Poly1305 (RFC 8439, 2.5) of many messages under one `r`, as Poly1305-AES has it (restic design, "Keys, Encryption
//! and MAC").
//!
//! The crate `poly1305` computes powers of `r` anew for every message, which costs as much as half a KiB of it, and its
//! vectors are slower than they need be. So a CPU with AVX2 uses lanes of our own (`x86.rs`), any other the crate.
//!
//! A wrong tag would keep restic from reading what we write, so lanes are not trusted: they are tried before they are
//! used, and of the tags that seal something one of 256 is computed again by the crate.

#[cfg(target_arch = "x86_64")]
mod x86;

use ::poly1305::Poly1305;
use ::poly1305::universal_hash::KeyInit;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::error::{Error, ErrorKind};

pub(super) type Tag = [u8; 16];

/// Two ways to compute a tag that do not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the CPU's vector instructions computed a wrong Poly1305")]
pub(super) struct WrongTag;

impl From<WrongTag> for Error {
    fn from(wrong: WrongTag) -> Self {
        Self::new(ErrorKind::Other, "an authentication tag is wrong").because(wrong.to_string()).then(
            "Nothing sealed by it was stored; check this machine's CPU and memory, and report its model",
        )
    }
}

/// `r`, with what is computed of it once.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Key {
    r: [u8; 16],
    #[cfg(target_arch = "x86_64")]
    lanes: Option<x86::Lanes>,
}

impl Key {
    pub(super) fn new(r: &[u8; 16]) -> Self {
        let key = Self {
            r: *r,
            #[cfg(target_arch = "x86_64")]
            lanes: x86::Lanes::new(r),
        };
        if key.is_right() {
            return key;
        }
        tracing::warn!("{WrongTag}: they are not used");
        Self {
            r: *r,
            #[cfg(target_arch = "x86_64")]
            lanes: None,
        }
    }

    /// The tag of a message; `pad` is what is added at its end, and no two messages may have the same.
    pub(super) fn tag(&self, pad: &[u8; 16], message: &[u8]) -> Tag {
        #[cfg(target_arch = "x86_64")]
        if let Some(lanes) = &self.lanes {
            return lanes.tag(pad, message);
        }
        self.plain_tag(pad, message)
    }

    /// The tag of a message that is to be stored.
    pub(super) fn seal(&self, pad: &[u8; 16], message: &[u8]) -> Result<Tag, WrongTag> {
        let tag = self.tag(pad, message);
        let [first, ..] = pad;
        if *first == 0 && tag != self.plain_tag(pad, message) { Err(WrongTag) } else { Ok(tag) }
    }

    fn plain_tag(&self, pad: &[u8; 16], message: &[u8]) -> Tag {
        let mut key = Zeroizing::new([0; 32]);
        let (r, s) = key.split_at_mut(16);
        r.copy_from_slice(&self.r);
        s.copy_from_slice(pad);
        Poly1305::new((&*key).into()).compute_unpadded(message).into()
    }

    /// Whether the lanes compute what the crate does, of messages that fill them and that do not.
    fn is_right(&self) -> bool {
        let message: Vec<u8> = (0..500_u32).map(|number| (number * 37 + number / 16) as u8).collect();
        let parts = (0..500).step_by(13).filter_map(|length| message.get(..length));
        parts.into_iter().all(|part| self.tag(&[7; 16], part) == self.plain_tag(&[7; 16], part))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::random::{Random, SystemRandom, random_array};

    /// Noise with runs of ones and of zeros in it, which is where numbers reach the modulus.
    fn uneven(bytes: usize) -> Vec<u8> {
        let mut noise = vec![0; bytes];
        SystemRandom.fill(&mut noise).unwrap();
        for run in noise.chunks_mut(100) {
            match run[0] % 4 {
                0 => run.fill(0xff),
                1 => run.fill(0),
                _ => {}
            }
        }
        noise
    }

    #[test]
    fn tags_are_those_of_the_crate() {
        for round in 0..40 {
            let message = uneven(3000);
            let (mut r, pad) = (random_array(&SystemRandom).unwrap(), random_array(&SystemRandom).unwrap());
            match round {
                0 => r = [0xff; 16],
                1 => r = [0; 16],
                2..=5 => r[1..].fill(0),
                _ => {}
            }
            let key = Key::new(&r);
            for length in (round..600).step_by(7).chain([2048, 2999, 3000]) {
                let message = &message[..length];
                assert_eq!(key.tag(&pad, message), key.plain_tag(&pad, message), "{length} bytes");
            }
        }
    }

    /// RFC 8439, appendix A.3, vectors 7 to 11: sums around the modulus.
    #[test]
    fn numbers_around_the_modulus_are_right() {
        let block = |first: u8, rest: u8| -> [u8; 16] {
            std::array::from_fn(|byte| if byte == 0 { first } else { rest })
        };
        let (two, one) = (block(2, 0), block(1, 0));
        let (ones, fb) = (block(0xff, 0xff), block(0xfb, 0xfe));
        let vectors = [
            (two, block(0, 0), vec![ones], block(3, 0)),
            (two, ones, vec![two], block(3, 0)),
            (one, block(0, 0), vec![ones, block(0xf0, 0xff), block(0x11, 0)], block(5, 0)),
            (one, block(0, 0), vec![ones, fb, block(1, 1)], block(0, 0)),
            (two, block(0, 0), vec![block(0xfd, 0xff)], block(0xfa, 0xff)),
        ];
        for (r, pad, blocks, tag) in vectors {
            let (key, message) = (Key::new(&r), blocks.concat());
            assert_eq!((key.tag(&pad, &message), key.plain_tag(&pad, &message)), (tag, tag));
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn lanes_of_another_key_are_found_out() {
        let mut key = Key::new(&random_array(&SystemRandom).unwrap());
        assert_eq!(key.lanes.is_some(), std::arch::is_x86_feature_detected!("avx2"));
        let message = uneven(1000);
        assert_eq!(key.seal(&[0; 16], &message), Ok(key.plain_tag(&[0; 16], &message)));
        key.r[0] ^= 1;
        assert_eq!(key.is_right(), key.lanes.is_none());
        assert_eq!(key.seal(&[0; 16], &message).is_err(), key.lanes.is_some());
        assert!(key.seal(&[1; 16], &message).is_ok());
    }
}
