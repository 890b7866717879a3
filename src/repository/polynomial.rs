//! Polynomials over GF(2): the irreducible one of degree 53 that a repository's chunker is built on.
//!
//! A polynomial is a `u64`: bit n is the coefficient of xⁿ (restic design, "Data Chunking"). Addition is xor.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, ErrorKind, Result};
use crate::random::{Random, random_array};

/// The degree that restic's chunker demands.
pub const DEGREE: u32 = 53;

/// A polynomial; in a config file it stands as hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Polynomial(pub u64);

impl Polynomial {
    /// A random irreducible polynomial of degree 53.
    pub fn random(random: &dyn Random) -> Result<Self> {
        // One in 53 odd candidates is irreducible: a thousand tries fail with a probability below 10⁻⁸.
        for _ in 0..1000 {
            let bits = u64::from_le_bytes(random_array(random)?);
            let candidate = Self((bits & ((1 << (DEGREE + 1)) - 1)) | (1 << DEGREE) | 1);
            if candidate.is_irreducible() {
                return Ok(candidate);
            }
        }
        Err(Error::new(ErrorKind::Other, "found no irreducible polynomial").because("no randomness"))
    }

    /// The degree; 0 for the constants 0 and 1.
    #[must_use]
    pub fn degree(self) -> u32 {
        self.0.checked_ilog2().unwrap_or(0)
    }

    /// The remainder of a division by `divisor`, which is not 0.
    #[must_use]
    pub fn modulo(self, divisor: Self) -> Self {
        let mut rest = self.0;
        while rest != 0 && Self(rest).degree() >= divisor.degree() {
            rest ^= divisor.0 << (Self(rest).degree() - divisor.degree());
            if divisor.degree() == 0 {
                return Self(0);
            }
        }
        Self(rest)
    }

    /// Whether it is irreducible (Ben-Or's test).
    #[must_use]
    pub fn is_irreducible(self) -> bool {
        if self.degree() == 0 {
            return false;
        }
        let mut power = Self(2).modulo(self);
        for _ in 0..self.degree() / 2 {
            power = power.times(power, self);
            if Self(power.0 ^ 2).gcd(self).0 != 1 {
                return false;
            }
        }
        true
    }

    fn times(self, other: Self, modulus: Self) -> Self {
        let (mut product, mut shifted) = (0, self.modulo(modulus).0);
        for bit in 0..u64::BITS {
            if other.0 >> bit & 1 == 1 {
                product ^= shifted;
            }
            shifted = Self(shifted << 1).modulo(modulus).0;
        }
        Self(product)
    }

    fn gcd(self, other: Self) -> Self {
        let (mut a, mut b) = (self, other);
        while b.0 != 0 {
            (a, b) = (b, a.modulo(b));
        }
        a
    }
}

impl Serialize for Polynomial {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format!("{:x}", self.0))
    }
}

impl<'de> Deserialize<'de> for Polynomial {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::random::SystemRandom;

    #[test]
    fn knows_small_irreducible_polynomials() {
        let irreducible: Vec<u64> = (2..32).filter(|bits| Polynomial(*bits).is_irreducible()).collect();
        assert_eq!(irreducible, [2, 3, 7, 11, 13, 19, 25, 31]);
    }

    #[test]
    fn accepts_the_polynomial_of_restics_design_and_makes_its_like() {
        assert!(Polynomial(0x003D_A335_8B4D_C173).is_irreducible());
        let made = Polynomial::random(&SystemRandom).unwrap();
        assert!(made.is_irreducible());
        assert_eq!(made.degree(), DEGREE);
    }
}
