//! `Secret`: a password or key that cannot be printed and is zeroed on drop.
//!
//! Bytes, not text: a password of the environment need not be UTF-8. Only `bytes` and `text` give the
//! content away, so every place that does can be found by those two words.

use std::fmt;

use zeroize::Zeroizing;

/// A password, key or token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes `bytes` over; they are zeroed when the secret is dropped.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The content.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The content as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(String::from_utf8_lossy(&self.0).into_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// What nobody may see of a URL: `user:password` and the password alone, as written and as meant.
pub(super) fn credentials(url: &Secret) -> Vec<Secret> {
    let text = url.text();
    let rest = text.split_once("://").map_or(text.as_str(), |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some((user, _)) = authority.rsplit_once('@') else { return Vec::new() };
    let password = user.split_once(':').map(|(_, password)| password);
    let written = [Some(user), password].into_iter().flatten();
    written.flat_map(|text| [Secret::new(text.as_bytes().to_vec()), Secret::new(decoded(text))]).collect()
}

/// Without percent encoding; what is none stays.
pub(super) fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits =
            tail.get(..2).filter(|digits| *first == b'%' && digits.iter().all(u8::is_ascii_hexdigit));
        let byte = digits.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_hides_its_user_as_written_and_as_meant() {
        let of = |url: &str| {
            let hidden = credentials(&Secret::new(url.as_bytes().to_vec()));
            hidden.iter().map(|secret| secret.text().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(of("https://host/a@b"), Vec::<String>::new());
        assert_eq!(of("https://token@host"), ["token", "token"]);
        assert_eq!(of("http://u:p%40ss@host:1/x?y=z@w"), ["u:p%40ss", "u:p@ss", "p%40ss", "p@ss"]);
        assert_eq!(of("u:p@proxy:3128"), ["u:p", "u:p", "p", "p"]);
        assert_eq!(decoded("a%2Cb%2c%zz%"), b"a,b,%zz%");
        assert_eq!(decoded("%+1"), b"%+1");
    }

    #[test]
    fn prints_nothing() {
        let secret = Secret::new(b"hunter2".to_vec());
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
        assert_eq!(secret.bytes(), b"hunter2");
        assert_eq!(secret.text().as_str(), "hunter2");
    }
}
