//! The README's tables are the program's: this test compares them. To write them anew, run it with
//! `UPDATE_README=1`.

#![allow(clippy::unwrap_used)]

use std::path::Path;

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
