//! A reader of JSON that asks for what it expects, field by field, and borrows what it can.
//!
//! It is lenient where Go's `encoding/json` is (unknown fields, `null` for anything, lone surrogates, bytes that
//! are not UTF-8 in a string become U+FFFD), strict about everything else, and never panics on any bytes:
//! numbers that do not fit, values of the wrong kind and nesting beyond [`DEPTH_MAX`] are errors with a place.

use std::borrow::Cow;

use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine as _, GeneralPurpose, GeneralPurposeConfig};

use crate::repository::Id;

/// How deep values may nest; what restic writes nests five deep.
const DEPTH_MAX: u32 = 64;

/// Go's reader of base64: padding is needed, the unused bits of the last digit may be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// Why a record could not be read, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct DecodeError {
    /// What was expected, or what is wrong.
    pub what: &'static str,
    /// The place in the JSON, in bytes from its beginning.
    pub at: usize,
}

type Result<T> = std::result::Result<T, DecodeError>;

/// Reads one JSON text from its beginning to its end.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
    depth: u32,
}

impl<'a> Reader<'a> {
    /// A reader at the beginning of `data`.
    #[must_use]
    pub fn new(data: &'a [u8]) -> Self {
        Self { rest: data, length: data.len(), depth: 0 }
    }

    /// The present place, in bytes from the beginning.
    #[must_use]
    pub fn at(&self) -> usize {
        self.length - self.rest.len()
    }

    /// An error at the present place.
    #[must_use]
    pub fn error(&self, what: &'static str) -> DecodeError {
        DecodeError { what, at: self.at() }
    }

    /// Ends the reading: nothing but white space may follow.
    pub fn finish(mut self) -> Result<()> {
        self.peek().map_or(Ok(()), |_| Err(self.error("something follows the end")))
    }

    /// Takes `null`, if that comes next.
    pub fn null(&mut self) -> bool {
        self.peek() == Some(b'n') && self.take(b"null")
    }

    /// Reads an object; `field` gets each name and must read its value. A value of `null` is passed over.
    pub fn object(&mut self, mut field: impl FnMut(&mut Self, &[u8]) -> Result<()>) -> Result<()> {
        self.open(b'{', "expected an object")?;
        if !self.comes(b'}') {
            loop {
                let name = self.bytes()?;
                if !self.comes(b':') {
                    return Err(self.error("expected a colon"));
                }
                if !self.null() {
                    field(self, &name)?;
                }
                if self.comes(b'}') {
                    break;
                }
                if !self.comes(b',') {
                    return Err(self.error("expected a comma or the end of the object"));
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads an array; `element` must read each value.
    pub fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.open(b'[', "expected an array")?;
        if !self.comes(b']') {
            loop {
                element(self)?;
                if self.comes(b']') {
                    break;
                }
                if !self.comes(b',') {
                    return Err(self.error("expected a comma or the end of the array"));
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads a string.
    pub fn text(&mut self) -> Result<Cow<'a, str>> {
        let error = self.error("text is not UTF-8");
        match self.bytes()? {
            Cow::Borrowed(bytes) => std::str::from_utf8(bytes).map(Cow::Borrowed).map_err(|_| error),
            Cow::Owned(bytes) => String::from_utf8(bytes).map(Cow::Owned).map_err(|_| error),
        }
    }

    /// Reads a string as bytes, which are valid UTF-8.
    pub fn bytes(&mut self) -> Result<Cow<'a, [u8]>> {
        if !self.comes(b'"') {
            return Err(self.error("expected a string"));
        }
        let (text, rest) = self.split(plain_length(self.rest))?;
        if let [b'"', rest @ ..] = rest {
            self.rest = rest;
            return Ok(Cow::Borrowed(text));
        }
        self.unusual_string()
    }

    /// Reads a number that is not negative and has no fraction.
    pub fn number(&mut self) -> Result<u64> {
        self.peek();
        let error = self.error("expected a number from 0 to 18446744073709551615");
        let mut number = 0_u64;
        let mut digits = 0_usize;
        let mut rest = self.rest;
        while let [digit @ b'0'..=b'9', tail @ ..] = rest {
            let value = number.checked_mul(10).and_then(|tens| tens.checked_add(u64::from(digit - b'0')));
            number = value.ok_or(error)?;
            digits += 1;
            rest = tail;
        }
        let leading_zero = digits > 1 && self.rest.first() == Some(&b'0');
        if digits == 0 || leading_zero || matches!(rest.first(), Some(b'.' | b'e' | b'E')) {
            return Err(error);
        }
        self.rest = rest;
        Ok(number)
    }

    /// Reads a number of 32 bits.
    pub fn number32(&mut self) -> Result<u32> {
        self.peek();
        let error = self.error("expected a number from 0 to 4294967295");
        u32::try_from(self.number()?).map_err(|_| error)
    }

    /// Reads an id.
    pub fn id(&mut self) -> Result<Id> {
        self.peek();
        let error = self.error("expected an id of 64 hex digits");
        let Some((quoted, rest)) = self.rest.split_first_chunk::<66>() else { return Err(error) };
        let [b'"', hex @ .., b'"'] = quoted else { return Err(error) };
        let mut id = [0; 32];
        let mut wrong = 0;
        let (pairs, _) = hex.as_chunks::<2>();
        for (byte, [high, low]) in id.iter_mut().zip(pairs) {
            let (high, low) = (hex_value(*high), hex_value(*low));
            wrong |= high | low;
            *byte = (high << 4) | (low & 15);
        }
        if wrong > 15 {
            return Err(error);
        }
        self.rest = rest;
        Ok(Id(id))
    }

    /// Reads bytes in base64.
    pub fn base64(&mut self) -> Result<Vec<u8>> {
        let error = self.error("expected padded base64");
        let text = self.bytes()?;
        BASE64.decode(&*text).map_err(|_| error)
    }

    /// Passes over any value.
    pub fn skip(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'{') => self.object(|reader, _| reader.skip()),
            Some(b'[') => self.array(Self::skip),
            Some(b'"') => self.bytes().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.skip_number(),
            _ if self.take(b"null") || self.take(b"true") || self.take(b"false") => Ok(()),
            _ => Err(self.error("expected a value")),
        }
    }

    /// Passes over any value and gives its text as it stands.
    pub fn raw(&mut self) -> Result<&'a [u8]> {
        self.peek();
        let before = self.rest;
        self.skip()?;
        Ok(before.get(..before.len() - self.rest.len()).unwrap_or_default())
    }

    /// The next byte that is not white space, which stays.
    fn peek(&mut self) -> Option<u8> {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
        self.rest.first().copied()
    }

    /// Takes `byte`, if that comes next.
    fn comes(&mut self, byte: u8) -> bool {
        if self.peek() != Some(byte) {
            return false;
        }
        self.rest = self.rest.get(1..).unwrap_or_default();
        true
    }

    /// Takes `word`, if that comes next.
    pub fn take(&mut self, word: &[u8]) -> bool {
        self.rest.strip_prefix(word).map(|rest| self.rest = rest).is_some()
    }

    fn open(&mut self, bracket: u8, what: &'static str) -> Result<()> {
        if !self.comes(bracket) {
            return Err(self.error(what));
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.error("nested too deep")) } else { Ok(()) }
    }

    fn split(&self, at: usize) -> Result<(&'a [u8], &'a [u8])> {
        self.rest.split_at_checked(at).ok_or_else(|| self.error("unexpected end"))
    }

    fn skip_number(&mut self) -> Result<()> {
        self.take(b"-");
        if !self.take(b"0") {
            self.skip_digits()?;
        }
        if self.take(b".") {
            self.skip_digits()?;
        }
        if self.take(b"e") || self.take(b"E") {
            let _sign = self.take(b"+") || self.take(b"-");
            self.skip_digits()?;
        }
        Ok(())
    }

    fn skip_digits(&mut self) -> Result<()> {
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (_, rest) = self.split(digits)?;
        self.rest = rest;
        if digits == 0 { Err(self.error("expected a digit")) } else { Ok(()) }
    }

    /// The rest of a string that holds escapes or more than ASCII.
    #[cold]
    fn unusual_string(&mut self) -> Result<Cow<'a, [u8]>> {
        let mut text = Vec::new();
        loop {
            let run = self.rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
            let (run, rest) = self.split(run.unwrap_or(self.rest.len()))?;
            for chunk in run.utf8_chunks() {
                text.extend_from_slice(chunk.valid().as_bytes());
                chunk.invalid().iter().for_each(|_| push_char(&mut text, char::REPLACEMENT_CHARACTER));
            }
            self.rest = rest;
            match rest {
                [b'"', rest @ ..] => {
                    self.rest = rest;
                    return Ok(Cow::Owned(text));
                }
                [b'\\', rest @ ..] => {
                    self.rest = rest;
                    let char = self.escape()?;
                    push_char(&mut text, char);
                }
                [] => return Err(self.error("a string does not end")),
                _ => return Err(self.error("a control character in a string")),
            }
        }
    }

    /// The character of an escape, of which the backslash is taken.
    fn escape(&mut self) -> Result<char> {
        let error = self.error("unknown escape in a string");
        let [letter, rest @ ..] = self.rest else { return Err(error) };
        self.rest = rest;
        Ok(match letter {
            b'"' | b'\\' | b'/' => char::from(*letter),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let unit = self.code_unit().ok_or(error)?;
                self.surrogate_pair(unit)
                    .or_else(|| char::from_u32(unit))
                    .unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            _ => return Err(error),
        })
    }

    /// The character that `high` makes with the escape that follows, which is taken only then.
    fn surrogate_pair(&mut self, high: u32) -> Option<char> {
        if !(0xd800..0xdc00).contains(&high) {
            return None;
        }
        let mut ahead = self.clone();
        let low = if ahead.take(b"\\u") { ahead.code_unit()? } else { return None };
        if !(0xdc00..0xe000).contains(&low) {
            return None;
        }
        *self = ahead;
        char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00))
    }

    fn code_unit(&mut self) -> Option<u32> {
        let (digits, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    }
}

/// The number of bytes before the first that is a quote, a backslash, a control character or not ASCII; eight at once.
fn plain_length(text: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let special = |byte: u8| !matches!(byte, 0x20..=0x7f) || byte == b'"' || byte == b'\\';
    let (words, tail) = text.as_chunks::<8>();
    for (place, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let below = |bytes: u64, limit: u64| bytes.wrapping_sub(limit * ONES);
        let quotes = below(word ^ (ONES * u64::from(b'"')), 1);
        let backslashes = below(word ^ (ONES * u64::from(b'\\')), 1);
        // A borrow can only mark bytes after one that is marked rightly.
        let marks = (word | quotes | backslashes | below(word, 0x20)) & (ONES << 7);
        if marks != 0 {
            return place * 8 + marks.trailing_zeros() as usize / 8;
        }
    }
    words.len() * 8 + tail.iter().position(|byte| special(*byte)).unwrap_or(tail.len())
}

fn push_char(text: &mut Vec<u8>, char: char) {
    text.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
}

/// The value of a hex digit, more than 15 for anything else.
fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0xf0,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn text(json: &str) -> Result<String> {
        let mut reader = Reader::new(json.as_bytes());
        let text = reader.text()?.into_owned();
        reader.finish().map(|()| text)
    }

    #[test]
    fn escapes_are_read_as_go_reads_them() {
        assert_eq!(text(r#" "\u0008\u000c\/\u00E9" "#).unwrap(), "\u{8}\u{c}/é");
        assert_eq!(text(r#""\ud83d\ude00""#).unwrap(), "😀");
        assert_eq!(text(r#""\ud83d""#).unwrap(), "\u{fffd}");
        assert_eq!(text(r#""\ud83d\n\ude00a""#).unwrap(), "\u{fffd}\n\u{fffd}a");
        assert_eq!(text(r#""\ud83d\ud83d\ude00""#).unwrap(), "\u{fffd}😀");
        assert_eq!(Reader::new(b"\"a\xe2\x80b\"").text().unwrap(), "a\u{fffd}\u{fffd}b");
        for wrong in ["\"", "\"a", "\"\\", "\"\\u12", "\"\\u12g4\"", "\"\\x41\"", "\"\n\"", "\"a\"b", "a", ""]
        {
            assert!(text(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn plain_text_ends_at_the_first_special_byte() {
        for length in 0..20 {
            for at in 0..length {
                for byte in 0..=255_u8 {
                    let mut text = vec![b'!'; length];
                    text[at] = byte;
                    let plain = matches!(byte, 0x20..=0x7f) && byte != b'"' && byte != b'\\';
                    assert_eq!(plain_length(&text), if plain { length } else { at }, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn numbers_are_exact() {
        for (json, number) in [("0", 0), (" 7", 7), ("18446744073709551615", u64::MAX)] {
            assert_eq!(Reader::new(json.as_bytes()).number(), Ok(number));
        }
        for wrong in ["", "-1", "1.0", "1e3", "01", "18446744073709551616", "\"1\"", "null"] {
            assert!(Reader::new(wrong.as_bytes()).number().is_err(), "{wrong}");
        }
        assert_eq!(Reader::new(b"4294967295").number32(), Ok(u32::MAX));
        assert!(Reader::new(b"4294967296").number32().is_err());
    }

    #[test]
    fn any_value_is_passed_over() {
        for json in [
            r#"{"a":[1,-2.5e+10,{}],"b":"\u0041é","c":true,"d":null,"e":[],"f":0.1,"g":false}"#,
            "1E-7",
            "[[]]",
        ] {
            let spaced = format!(" {json}\n");
            let mut reader = Reader::new(spaced.as_bytes());
            assert_eq!(reader.raw().unwrap(), json.as_bytes());
            reader.finish().unwrap();
        }
        for wrong in [
            "{",
            "[",
            "{]",
            "[}",
            "[1,]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "tru",
            "-",
            "1.",
            "1e",
            "01",
            "+1",
            "[1 2]",
            "",
        ] {
            let mut reader = Reader::new(wrong.as_bytes());
            assert!(reader.skip().and_then(|()| reader.finish()).is_err(), "{wrong}");
        }
        let deep = "[".repeat(1_000_000);
        assert_eq!(Reader::new(deep.as_bytes()).skip().unwrap_err().what, "nested too deep");
    }

    #[test]
    fn ids_and_base64() {
        let id = Id::of(b"x");
        for hex in [id.hex(), id.hex().to_uppercase()] {
            assert_eq!(Reader::new(format!("\"{hex}\"").as_bytes()).id(), Ok(id));
        }
        for wrong in [
            id.hex(),
            format!("\"{}\"", &id.hex()[..63]),
            format!("\"g{}\"", &id.hex()[..63]),
            format!("\"{id}0\""),
        ] {
            assert!(Reader::new(wrong.as_bytes()).id().is_err(), "{wrong}");
        }
        assert_eq!(Reader::new(b"\"AB==\"").base64().unwrap(), [0]);
        assert!(Reader::new(b"\"AA\"").base64().is_err());
        let error = Reader::new(b"  7").text().unwrap_err();
        assert_eq!(error.to_string(), "expected a string at byte 2");
    }
}
