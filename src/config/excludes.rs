//! What a backup leaves out, as the variables say it: patterns are kept as they are written.
//!
//! Files with patterns are read as restic reads them: a pattern a line, white space around it taken off,
//! blank lines and lines with `#` first passed over, `$NAME` and `${NAME}` replaced from the environment,
//! `$$` is a dollar. Whether a pattern is well formed is for whoever matches with it.

use super::env::Lookup;
use super::text_file;
use super::values;
use super::variables::{
    MOVER_EXCLUDE, MOVER_EXCLUDE_CACHES, MOVER_EXCLUDE_FILE, MOVER_EXCLUDE_IF_PRESENT,
    MOVER_EXCLUDE_LARGER_THAN, MOVER_IEXCLUDE, MOVER_IGNORE_FILES, MOVER_ONE_FILE_SYSTEM,
};
use crate::error::{Error, Result};

/// What is left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Excludes {
    /// restic's patterns, in the order given; those of files come last.
    pub patterns: Vec<String>,
    /// Patterns that match upper and lower case alike.
    pub patterns_any_case: Vec<String>,
    /// Directories that hold a `CACHEDIR.TAG`.
    pub caches: bool,
    /// Directories that hold such a file.
    pub if_present: Vec<Marker>,
    /// Files with more bytes.
    pub larger_than_bytes: Option<u64>,
    /// Other file systems than the source's.
    pub other_file_systems: bool,
    /// Names of files with further patterns, in any directory.
    pub ignore_files: Vec<String>,
}

/// A file whose presence leaves its directory out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Its name.
    pub name: String,
    /// What it must begin with; empty: anything.
    pub header: String,
}

impl Excludes {
    /// From the variables, reading the files that they name.
    pub fn parse(lookup: &Lookup) -> Result<Self> {
        let mut patterns = lookup.lines(&MOVER_EXCLUDE)?;
        for file in lookup.lines(&MOVER_EXCLUDE_FILE)? {
            patterns.extend(from_file(lookup, &file)?);
        }
        let markers = |text: &str| text.lines().filter(|line| !line.trim().is_empty()).map(marker).collect();
        let larger_than_bytes = lookup.parse(&MOVER_EXCLUDE_LARGER_THAN, |text| match text {
            "off" => Ok(0),
            text => values::size(text),
        })?;
        Ok(Self {
            patterns,
            patterns_any_case: lookup.lines(&MOVER_IEXCLUDE)?,
            caches: lookup.flag(&MOVER_EXCLUDE_CACHES, false)?,
            if_present: lookup.parse(&MOVER_EXCLUDE_IF_PRESENT, markers)?.unwrap_or_default(),
            larger_than_bytes: larger_than_bytes.filter(|bytes| *bytes > 0),
            other_file_systems: lookup.flag(&MOVER_ONE_FILE_SYSTEM, false)?,
            ignore_files: lookup.parse(&MOVER_IGNORE_FILES, ignore_files)?.unwrap_or_default(),
        })
    }
}

fn marker(line: &str) -> values::Parsed<Marker> {
    let (name, header) = line.split_once(':').unwrap_or((line, ""));
    if !is_name(name) {
        return Err("the name of a file, or name:header, one a line".to_owned());
    }
    Ok(Marker { name: name.to_owned(), header: header.to_owned() })
}

fn ignore_files(text: &str) -> values::Parsed<Vec<String>> {
    let names = text.split([',', '\n']).map(str::trim).filter(|name| !name.is_empty());
    let name = |name: &str| {
        is_name(name).then(|| name.to_owned()).ok_or_else(|| "names of files, separated by commas".to_owned())
    };
    if values::boolean(text) == Ok(false) { Ok(Vec::new()) } else { names.map(name).collect() }
}

fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

fn from_file(lookup: &Lookup, file: &str) -> Result<Vec<String>> {
    let bytes = text_file::read(&MOVER_EXCLUDE_FILE, file.as_ref())?;
    let text = std::str::from_utf8(&bytes).map_err(|cause| {
        Error::usage("cannot read the file of a variable")
            .at(format!("{}={file}", MOVER_EXCLUDE_FILE.name))
            .because(cause)
    })?;
    let value = |name: &str| lookup.foreign(name).map(|value| value.to_string_lossy().into_owned());
    let patterns = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(patterns.map(|line| expand(line, value)).collect())
}

/// Replaces `$NAME` and `${NAME}`, unknown ones by nothing; `$$` is a dollar, and so is one that stands alone.
fn expand(line: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let in_name = |character: char| character.is_ascii_alphanumeric() || character == '_';
        let plain = after.find(|character| !in_name(character)).unwrap_or(after.len());
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        rest = match (after.strip_prefix('$'), braced, after.split_at_checked(plain)) {
            (Some(tail), ..) => {
                expanded.push('$');
                tail
            }
            (_, Some((name, tail)), _) => {
                expanded.push_str(&value(name).unwrap_or_default());
                tail
            }
            (_, _, Some((name, tail))) if !name.is_empty() => {
                expanded.push_str(&value(name).unwrap_or_default());
                tail
            }
            _ => {
                expanded.push('$');
                after
            }
        };
    }
    expanded + rest
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::ffi::OsString;

    use super::super::env::Values;
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Excludes> {
        let environment =
            pairs.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
        Excludes::parse(&Lookup::new(Values::new(), environment).unwrap())
    }

    #[test]
    fn nothing_is_left_out_unless_told() {
        assert_eq!(parse(&[]).unwrap(), Excludes::default());
        let off = [
            ("MOVER_EXCLUDE_LARGER_THAN", "off"),
            ("MOVER_IGNORE_FILES", "off"),
            ("MOVER_ONE_FILE_SYSTEM", "0"),
        ];
        assert_eq!(parse(&off).unwrap(), Excludes::default());
        assert_eq!(parse(&[("MOVER_EXCLUDE_LARGER_THAN", "0")]).unwrap(), Excludes::default());
    }

    #[test]
    fn everything_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "\u{feff}# a comment\n  *.bak  \n\n$HERE/${HERE}x$$y$\n!keep\r\n")
            .unwrap();
        let excludes = parse(&[
            ("HERE", "/here"),
            ("MOVER_EXCLUDE", " *.tmp\n\n#not a comment\n"),
            ("MOVER_IEXCLUDE", "*.JPG"),
            ("MOVER_EXCLUDE_FILE", file.path().to_str().unwrap()),
            ("MOVER_EXCLUDE_CACHES", "yes"),
            ("MOVER_EXCLUDE_IF_PRESENT", ".nobackup\nTAG:Signature: x\n"),
            ("MOVER_EXCLUDE_LARGER_THAN", "2G"),
            ("MOVER_ONE_FILE_SYSTEM", "1"),
            ("MOVER_IGNORE_FILES", ".backupignore, .gitignore"),
        ]);
        let marker = |name: &str, header: &str| Marker { name: name.to_owned(), header: header.to_owned() };
        let expected = Excludes {
            patterns: [" *.tmp", "#not a comment", "*.bak", "/here//herex$y$", "!keep"]
                .map(str::to_owned)
                .to_vec(),
            patterns_any_case: vec!["*.JPG".to_owned()],
            caches: true,
            if_present: vec![marker(".nobackup", ""), marker("TAG", "Signature: x")],
            larger_than_bytes: Some(2 << 30),
            other_file_systems: true,
            ignore_files: [".backupignore", ".gitignore"].map(str::to_owned).to_vec(),
        };
        assert_eq!(excludes.unwrap(), expected);
    }

    #[test]
    fn refusals_name_the_variable() {
        let cases = [
            ("MOVER_EXCLUDE_FILE", "/nonexistent"),
            ("MOVER_EXCLUDE_FILE", "/proc/self/exe"),
            ("MOVER_EXCLUDE_CACHES", "maybe"),
            ("MOVER_EXCLUDE_IF_PRESENT", ":header"),
            ("MOVER_EXCLUDE_IF_PRESENT", "a/b"),
            ("MOVER_EXCLUDE_LARGER_THAN", "5MB"),
            ("MOVER_ONE_FILE_SYSTEM", "2"),
            ("MOVER_IGNORE_FILES", "a/b"),
            ("MOVER_IGNORE_FILES", ".."),
        ];
        for (name, value) in cases {
            let error = parse(&[(name, value)]).unwrap_err();
            assert_eq!(error.kind.exit_code(), 2, "{name}");
            assert!(error.to_string().contains(&format!("{name}={value}")), "{error}");
        }
    }

    #[test]
    fn dollars() {
        let value = |name: &str| (name == "A").then(|| "x".to_owned());
        let cases = [
            ("$A", "x"),
            ("${A}b", "xb"),
            ("$AB", ""),
            ("$A/b", "x/b"),
            ("$$A", "$A"),
            ("a$", "a$"),
            ("${A", "${A"),
            ("$/é$A", "$/éx"),
            ("${}", ""),
        ];
        for (line, expected) in cases {
            assert_eq!(expand(line, value), expected, "{line}");
        }
    }
}
