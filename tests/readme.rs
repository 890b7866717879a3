//! The README's tables are the program's: this test compares them. To write them anew, run it with
//! `UPDATE_README=1`. What `benches/README.md` says is held by tests is.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use volmover::config::readme;
use volmover::outlets::metrics;

/// The README with the table between `<!-- name -->` and `<!-- /name -->` replaced.
fn with_table(text: &str, name: &str, table: &str) -> String {
    let [begin, end] = [format!("<!-- {name} -->\n"), format!("<!-- /{name} -->")];
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("README.md lacks {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("README.md lacks {end}"));
    format!("{before}{begin}{}\n{end}{after}", table.trim_end())
}

#[test]
fn tables_equal_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let expected = with_table(&text, "variables", &readme::variables());
    let expected = with_table(&expected, "exit-codes", &readme::exit_codes());
    let expected = with_table(&expected, "metrics", &metrics::table());
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, &expected).unwrap();
        return;
    }
    let lines = text.lines().zip(expected.lines()).enumerate();
    for (number, (line, expected)) in lines {
        assert_eq!(line, expected, "README.md, line {}; run with UPDATE_README=1", number + 1);
    }
    assert_eq!(text.len(), expected.len(), "README.md; run with UPDATE_README=1");
}

/// What `benches/README.md` says of an optimisation, a test holds.
#[test]
fn tests_named_beside_optimisations_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("benches/README.md")).unwrap();
    let (_, section) = text.split_once("\n## Against the plain way\n").unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| ")).skip(1);
    let sources = sources(&[root.join("src"), root.join("tests")]);
    for row in rows {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for test in tests.split(", ") {
            let declared = format!("fn {}(", test.trim_matches('`'));
            assert!(sources.iter().any(|source| source.contains(&declared)), "no test {test}: {row}");
        }
    }
}

/// The text of every file of Rust below these folders.
fn sources(folders: &[PathBuf]) -> Vec<String> {
    let mut sources = Vec::new();
    let mut folders = folders.to_vec();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(std::fs::read_to_string(path).unwrap());
            }
        }
    }
    sources
}
