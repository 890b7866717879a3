//! JSON exactly as Go's `encoding/json` writes it, into a growing buffer, without values in between.
//!
//! restic names a tree by the hash of its JSON: one byte written otherwise, and nothing deduplicates. So the
//! escapes are Go's (since 1.22): `<`, `>`, `&`, U+2028 and U+2029 as `\u…`, `\b` and `\f` short, DEL raw, each
//! byte that is not UTF-8 as `\ufffd`. [`Reader`] reads what any version of restic or rustic wrote.
//! What the fields are, and in which order they come, stands with the records, not here.

mod reader;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

pub use reader::{DecodeError, Reader};

use super::Id;

/// Appends `text` in quotes; what is not UTF-8 is replaced as Go does.
pub fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let plain = text.iter().position(|byte| !is_plain(*byte)).unwrap_or(text.len());
    let (head, tail) = text.split_at(plain);
    out.extend_from_slice(head);
    if !tail.is_empty() {
        push_escaped(out, tail);
    }
    out.push(b'"');
}

/// Appends an array of strings.
pub fn push_strings<'a>(out: &mut Vec<u8>, texts: impl IntoIterator<Item = &'a String>) {
    out.push(b'[');
    for (place, text) in texts.into_iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        push_string(out, text.as_bytes());
    }
    out.push(b']');
}

/// Appends `number` in decimal.
pub fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend(digits.iter().skip(20 - used));
}

/// Appends `id` as 64 hex digits in quotes.
pub fn push_id(out: &mut Vec<u8>, id: &Id) {
    let mut text = [0; 64];
    let (pairs, _) = text.as_chunks_mut::<2>();
    for ([high, low], byte) in pairs.iter_mut().zip(id.0) {
        *high = hex_digit(byte >> 4);
        *low = hex_digit(byte & 15);
    }
    out.push(b'"');
    out.extend_from_slice(&text);
    out.push(b'"');
}

/// Appends `data` in padded base64, in quotes, as Go writes bytes.
pub fn push_base64(out: &mut Vec<u8>, data: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(data).as_bytes());
    out.push(b'"');
}

/// `bytes` as text, each byte that is not part of valid UTF-8 as U+FFFD: the text that restic records of it.
#[must_use]
pub fn lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

fn hex_digit(nibble: u8) -> u8 {
    nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, 0x20..=0x7f) && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&')
}

fn push_escaped(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            push_char(out, char);
        }
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

fn push_char(out: &mut Vec<u8>, char: char) {
    match char {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\u{8}' => out.extend_from_slice(b"\\b"),
        '\u{c}' => out.extend_from_slice(b"\\f"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
            out.extend_from_slice(format!("\\u{:04x}", u32::from(char)).as_bytes());
        }
        _ => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn written(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_are_written_and_read_as_go_does() {
        let samples = include_str!("../../fixtures/json/quoted.tsv");
        let mut seen = 0;
        for line in samples.lines() {
            let [raw, _, json, _] = line.split('\t').collect::<Vec<_>>()[..] else { continue };
            let raw = crate::repository::quote::tests::unhex(raw);
            assert_eq!(written(|out| push_string(out, &raw)), json);
            let mut reader = Reader::new(json.as_bytes());
            assert_eq!(reader.text().unwrap(), lossy(&raw), "{json}");
            reader.finish().unwrap();
            seen += 1;
        }
        assert!(seen > 50);
    }

    #[test]
    fn numbers_ids_bytes_and_arrays() {
        for number in [0, 1, 9, 10, 99, 100, 12_345, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            assert_eq!(written(|out| push_number(out, number)), number.to_string());
        }
        let id = Id::of(b"x");
        assert_eq!(written(|out| push_id(out, &id)), format!("\"{id}\""));
        for (data, text) in
            [(&b""[..], "\"\""), (b"\0", "\"AA==\""), (b"bad\xff\xe2\x80target", "\"YmFk/+KAdGFyZ2V0\"")]
        {
            assert_eq!(written(|out| push_base64(out, data)), text);
            assert_eq!(Reader::new(text.as_bytes()).base64().unwrap(), data);
        }
        let texts = ["a".to_owned(), "<".to_owned()];
        assert_eq!(written(|out| push_strings(out, &texts)), r#"["a","\u003c"]"#);
        assert_eq!(written(|out| push_strings(out, &[])), "[]");
    }
}
