//! Small text files that variables name: password, repository location, exclude patterns.
//!
//! As restic reads them: a byte order mark is taken off, UTF-16 behind one is decoded, everything else is
//! left as it is. A file that cannot be read is a usage error that names the variable.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use zeroize::Zeroizing;

use super::variable::Variable;
use crate::error::{Error, Result};

/// Larger files are a mistake: a device, a backup, a core dump.
const BYTES_MAX: u64 = 16 << 20;

/// The content of the file that `variable` names.
pub(super) fn read(variable: &Variable, path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let failed = |cause: &dyn std::fmt::Display| {
        Error::usage("cannot read the file of a variable")
            .at(format!("{}={}", variable.name, path.display()))
            .because(cause)
    };
    let file = File::open(path).map_err(|error| failed(&error))?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(failed(&"it is larger than 16 MiB"));
    }
    Ok(decode(bytes))
}

/// Takes off white space at both ends, as Go's `TrimSpace` does.
pub(super) fn trim(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.trim().as_bytes(),
        Err(_) => bytes.trim_ascii(),
    }
}

fn decode(bytes: Zeroizing<Vec<u8>>) -> Zeroizing<Vec<u8>> {
    match bytes.as_slice() {
        [0xef, 0xbb, 0xbf, rest @ ..] => Zeroizing::new(rest.to_vec()),
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes),
        _ => bytes,
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Zeroizing<Vec<u8>> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| unit(*pair));
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    text.extend(char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)));
    Zeroizing::new(text.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::super::variables::RESTIC_PASSWORD_FILE;
    use super::*;

    fn decoded(bytes: &[u8]) -> Vec<u8> {
        decode(Zeroizing::new(bytes.to_vec())).to_vec()
    }

    #[test]
    fn marks_are_taken_off() {
        assert_eq!(decoded(b"plain\n"), b"plain\n");
        assert_eq!(decoded(b"\xef\xbb\xbfx"), b"x");
        assert_eq!(decoded(b"\xff\xfeg\0\xe9\0"), "gé".as_bytes());
        assert_eq!(decoded(b"\xfe\xff\0g\0\xe9"), "gé".as_bytes());
        assert_eq!(decoded(b"\xff\x00"), b"\xff\x00");
    }

    #[test]
    fn white_space_at_the_ends_goes() {
        assert_eq!(trim(b" \t x y \r\n\n"), b"x y");
        assert_eq!(trim("\u{a0}x\u{2003}".as_bytes()), b"x");
        assert_eq!(trim(b" \xffx \n"), b"\xffx");
    }

    #[test]
    fn a_file_that_cannot_be_read_names_its_variable() {
        let error = read(&RESTIC_PASSWORD_FILE, Path::new("/nonexistent/file")).unwrap_err();
        assert_eq!(error.kind.exit_code(), 2);
        let text = error.to_string();
        assert!(text.contains("RESTIC_PASSWORD_FILE=/nonexistent/file: No such file"), "{text}");
        let folder = read(&RESTIC_PASSWORD_FILE, Path::new("/")).unwrap_err().to_string();
        assert!(folder.contains("directory"), "{folder}");
        let endless = read(&RESTIC_PASSWORD_FILE, Path::new("/dev/zero")).unwrap_err().to_string();
        assert!(endless.contains("16 MiB"), "{endless}");
    }
}
