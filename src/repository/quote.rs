//! Names as Go's `strconv.Quote` writes and `strconv.Unquote` reads them, without the quotes around.
//!
//! restic quotes a node's name before it becomes JSON, so that a name of any bytes survives: what Go does not
//! print, and what is not UTF-8, is escaped. `unquote(quote(name)) = name` for every name.

mod printable;

use std::borrow::Cow;

use printable::PRINTABLE;

/// `name` quoted; the name itself when nothing in it needs an escape.
#[must_use]
pub fn quote(name: &[u8]) -> Cow<'_, [u8]> {
    if name.iter().all(|byte| matches!(byte, 0x20..=0x7e) && !matches!(byte, b'"' | b'\\')) {
        return Cow::Borrowed(name);
    }
    let mut quoted = Vec::with_capacity(name.len() + 16);
    for chunk in name.utf8_chunks() {
        chunk.valid().chars().for_each(|char| push_quoted(&mut quoted, char));
        chunk.invalid().iter().for_each(|byte| quoted.extend_from_slice(format!("\\x{byte:02x}").as_bytes()));
    }
    Cow::Owned(quoted)
}

/// The name that `quoted` stands for, or `None` where Go refuses it.
#[must_use]
pub fn unquote(quoted: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(plain) = quoted.iter().position(|byte| matches!(byte, b'\\' | b'"' | b'\n')) else {
        return Some(Cow::Borrowed(quoted));
    };
    let (head, mut rest) = quoted.split_at_checked(plain)?;
    let mut name = head.to_vec();
    loop {
        match rest {
            [] => return Some(Cow::Owned(name)),
            [b'"' | b'\n', ..] => return None,
            [b'\\', escape @ ..] => rest = push_unquoted(&mut name, escape)?,
            [byte, tail @ ..] => {
                name.push(*byte);
                rest = tail;
            }
        }
    }
}

/// Whether Go prints `char`.
fn is_print(char: char) -> bool {
    let code = u32::from(char);
    let place = PRINTABLE.partition_point(|(_, last)| *last < code);
    PRINTABLE.get(place).is_some_and(|(first, _)| *first <= code)
}

fn push_quoted(quoted: &mut Vec<u8>, char: char) {
    let code = u32::from(char);
    let letter = match char {
        '"' | '\\' => char,
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        _ if is_print(char) => return quoted.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
        '\0'..='\u{7f}' => return quoted.extend_from_slice(format!("\\x{code:02x}").as_bytes()),
        '\u{80}'..='\u{ffff}' => return quoted.extend_from_slice(format!("\\u{code:04x}").as_bytes()),
        _ => return quoted.extend_from_slice(format!("\\U{code:08x}").as_bytes()),
    };
    quoted.extend_from_slice(&[b'\\', letter as u8]);
}

/// Appends what the escape after a backslash stands for; gives what follows it.
fn push_unquoted<'a>(name: &mut Vec<u8>, escape: &'a [u8]) -> Option<&'a [u8]> {
    let (letter, rest) = escape.split_first()?;
    let byte = match letter {
        b'a' => 7,
        b'b' => 8,
        b't' => b'\t',
        b'n' => b'\n',
        b'v' => 11,
        b'f' => 12,
        b'r' => b'\r',
        b'\\' | b'"' => *letter,
        b'x' => {
            let (value, rest) = code(rest, 2, 16)?;
            name.push(value as u8);
            return Some(rest);
        }
        b'0'..=b'7' => {
            let (value, rest) = code(escape, 3, 8)?;
            name.push(u8::try_from(value).ok()?);
            return Some(rest);
        }
        b'u' | b'U' => {
            let (value, rest) = code(rest, if *letter == b'u' { 4 } else { 8 }, 16)?;
            name.extend_from_slice(char::from_u32(value)?.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(rest);
        }
        _ => return None,
    };
    name.push(byte);
    Some(rest)
}

/// The value of the first `count` digits, and what follows them.
fn code(text: &[u8], count: usize, radix: u32) -> Option<(u32, &[u8])> {
    let (digits, rest) = text.split_at_checked(count)?;
    let value = digits
        .iter()
        .try_fold(0_u32, |value, digit| Some(value * radix + char::from(*digit).to_digit(radix)?));
    Some((value?, rest))
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::repository::Id;

    pub(in crate::repository) fn unhex(text: &str) -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    }

    #[test]
    fn names_are_quoted_and_unquoted_as_go_does() {
        let samples = include_str!("../../fixtures/json/quoted.tsv");
        let mut seen = [0, 0];
        for line in samples.lines() {
            match line.split('\t').collect::<Vec<_>>()[..] {
                [raw, quoted, _, json] => {
                    let raw = unhex(raw);
                    assert_eq!(format!("\"{}\"", String::from_utf8_lossy(&quote(&raw))), quoted);
                    assert_eq!(unquote(&quote(&raw)).unwrap(), raw);
                    let mut out = Vec::new();
                    crate::repository::json::push_string(&mut out, &quote(&raw));
                    assert_eq!(String::from_utf8(out).unwrap(), json);
                    seen[0] += 1;
                }
                [quoted, answer] => {
                    let expected = answer.strip_prefix('=').map(unhex);
                    assert_eq!(unquote(&unhex(quoted)).map(Cow::into_owned), expected, "{line}");
                    seen[1] += 1;
                }
                _ => panic!("{line}"),
            }
        }
        assert!(seen[0] > 50 && seen[1] > 20);
    }

    /// The SHA-256 of one `0` or `1` for each rune from 0 to 0x10ffff, by `strconv.IsPrint` of Go 1.26.8.
    #[test]
    fn every_rune_is_judged_as_go_does() {
        let answers: Vec<u8> =
            (0..0x11_0000).map(|code| b'0' + u8::from(char::from_u32(code).is_some_and(is_print))).collect();
        assert_eq!(
            Id::of(&answers).hex(),
            "0326b64c15e91a0583a1d9f8bc53f4bb534adc91a5ae096b55adaf19525ed98d"
        );
    }

    #[test]
    fn random_bytes_survive() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..20_000 {
            let mut name = Vec::new();
            for _ in 0..round % 24 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                name.push(if round % 2 == 0 {
                    (state >> 32) as u8
                } else {
                    b"\\xu0\"7\n\xe2\x80\xa8"[(state >> 32) as usize % 10]
                });
            }
            let quoted = quote(&name).into_owned();
            assert!(std::str::from_utf8(&quoted).is_ok());
            assert_eq!(unquote(&quoted).unwrap(), name);
            let _any = unquote(&name);
        }
    }
}
