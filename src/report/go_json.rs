//! JSON as Go's `encoding/json` writes it: `<`, `>`, `&`, U+2028 and U+2029 escaped, floats without `.0`.
//!
//! Tools that read restic's JSON lines compare text, so ours is the same text. For reports only:
//! what is stored in a repository is written by the repository's own codecs.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

/// One JSON line, without its newline.
pub(crate) fn line(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, GoFormatter);
    // Objects with text keys, written to memory, cannot fail; an empty line is the least of all evils.
    match value.serialize(&mut serializer) {
        Ok(()) => String::from_utf8(bytes).unwrap_or_default(),
        Err(_) => String::new(),
    }
}

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_f64<W: ?Sized + Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        writer.write_all(float(value).as_bytes())
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let special = |c: char| matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}');
        for piece in fragment.split_inclusive(special) {
            match piece.char_indices().next_back() {
                Some((at, last)) if special(last) => {
                    let (plain, _) = piece.split_at_checked(at).unwrap_or((piece, ""));
                    write!(writer, "{plain}\\u{:04x}", u32::from(last))?;
                }
                _ => writer.write_all(piece.as_bytes())?,
            }
        }
        Ok(())
    }
}

/// The shortest text that reads back as the same number; exponents only below 1e-6 and from 1e21 on.
fn float(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && size < 1e-6 {
        format!("{value:e}")
    } else if size >= 1e21 {
        format!("{value:e}").replace('e', "e+")
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Printed by a Go program of three lines around json.Marshal.
    #[test]
    fn strings_and_numbers_look_as_go_writes_them() {
        assert_eq!(line(&"a<b>&\u{2028}\u{2029}é\u{7f}"), "\"a\\u003cb\\u003e\\u0026\\u2028\\u2029é\u{7f}\"");
        assert_eq!(line(&"\u{8}\u{c}\n\r\t\u{1b}\0\"\\/"), r#""\b\f\n\r\t\u001b\u0000\"\\/""#);
        assert_eq!(line(&"<"), "\"\\u003c\"");
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (0.6, "0.6"),
            (0.028_106_574_285_714_284, "0.028106574285714284"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-9, "1.5e-9"),
            (1e20, "100000000000000000000"),
            (1.25e21, "1.25e+21"),
        ];
        for (value, text) in cases {
            assert_eq!(line(&value), text);
        }
    }
}
