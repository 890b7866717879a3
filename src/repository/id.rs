//! `Id`: the SHA-256 of what it names, as 32 bytes.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::sha256::{self, WrongHash};

/// The SHA-256 of a blob's plaintext or of a file's stored bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Id(pub [u8; 32]);

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Id {
    /// The id of `data`.
    #[must_use]
    pub fn of(data: &[u8]) -> Self {
        Self(sha256::digest(data))
    }

    /// The ids of many messages, computed side by side.
    ///
    /// # Errors
    /// One that was computed twice, and differently.
    pub fn of_many(messages: &[&[u8]]) -> Result<Vec<Self>, WrongHash> {
        Ok(sha256::digest_many(messages)?.into_iter().map(Self).collect())
    }

    /// The ids of many messages, each with the id that it is expected to have. They are computed side by side, and one
    /// that is not as expected again, in the plain way: so all of them are right.
    #[must_use]
    pub fn of_expected(messages: &[&[u8]], expected: &[Self]) -> Vec<Self> {
        let digests = sha256::digest_many_unconfirmed(messages);
        let of = |((digest, message), expected): ((_, &&[u8]), &Self)| {
            if digest == expected.0 { *expected } else { Self::of(message) }
        };
        digests.into_iter().zip(messages).zip(expected).map(of).collect()
    }

    /// Computes a sample of ids again that were computed together by other means than `of_many`.
    ///
    /// # Errors
    /// One that differs.
    pub fn confirm(messages: &[&[u8]], ids: &[Self]) -> Result<(), WrongHash> {
        let digests: Vec<_> = ids.iter().map(|id| id.0).collect();
        sha256::confirm(messages, &digests)
    }

    /// How many messages `of_many` moves on side by side: as many as the CPU has lanes, 1 where it has none.
    #[must_use]
    pub fn at_once() -> usize {
        sha256::at_once()
    }

    /// 64 lower-case hex digits.
    #[must_use]
    pub fn hex(&self) -> String {
        let mut text = String::with_capacity(64);
        self.push_hex(&mut text);
        text
    }

    /// Appends 64 lower-case hex digits.
    pub fn push_hex(&self, text: &mut String) {
        for byte in self.0 {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from(HEX.get(usize::from(nibble)).copied().unwrap_or(b'0')));
            }
        }
    }

    /// The first 8 hex digits, as lines for people show an id.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.hex();
        text.truncate(8);
        text
    }
}

/// By bytes; the first eight, which nearly always decide, as one number.
impl Ord for Id {
    fn cmp(&self, other: &Self) -> Ordering {
        let leading = |id: &Self| id.0.first_chunk().copied().map(u64::from_be_bytes);
        leading(self).cmp(&leading(other)).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A hash that runs while data arrives: the id of a pack that grows.
#[derive(Clone, Default)]
pub struct Hasher(sha256::Running);

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The id of all bytes taken.
    #[must_use]
    pub fn finish(self) -> Id {
        Id(self.0.finish())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Hasher")
    }
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.hex())
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.short())
    }
}

/// Text that is not 64 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an id has 64 hex digits")]
pub struct NotAnId;

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let mut id = [0_u8; 32];
        if text.len() != 64 {
            return Err(NotAnId);
        }
        for (byte, pair) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            for digit in pair {
                let value = char::from(*digit).to_digit(16).ok_or(NotAnId)?;
                *byte = (*byte << 4) | value as u8;
            }
        }
        Ok(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_expected_changes_no_id() {
        let messages: Vec<Vec<u8>> = (0..40_u8).map(|n| vec![n; 100 * usize::from(n)]).collect();
        let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
        let ids: Vec<Id> = messages.iter().map(|message| Id::of(message)).collect();
        assert_eq!(Id::of_expected(&messages, &ids), ids);
        let others: Vec<Id> = ids.iter().rev().copied().collect();
        assert_eq!(Id::of_expected(&messages, &others), ids);
        assert!(Id::of_expected(&[], &[]).is_empty());
    }

    #[test]
    fn the_order_is_that_of_the_bytes() {
        let ids: Vec<Id> = (0..200_u8).map(|n| Id::of(&[n])).collect();
        let mut close = ids.clone();
        close.extend(ids.iter().map(|id| {
            let mut near = *id;
            if let Some(last) = near.0.last_mut() {
                *last = last.wrapping_add(1);
            }
            near
        }));
        for (left, right) in
            close.iter().zip(close.iter().rev()).chain(close.iter().zip(close.iter().skip(200)))
        {
            assert_eq!(left.cmp(right), left.0.cmp(&right.0));
        }
    }
}
