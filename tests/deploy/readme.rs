//! deploy/README.md: what it names exists, so that a table of what is shown by what stays true.

use std::path::Path;

use crate::yaml::{deploy, text};

/// Words in backquotes that look like files, and `file::test` for tests.
fn named() -> Vec<String> {
    let text = text("README.md");
    let lines: Vec<&str> = text.split("```").step_by(2).collect();
    let mut found = Vec::new();
    for part in lines.concat().split('`').skip(1).step_by(2) {
        found.push(part.to_owned());
    }
    found
}

#[test]
fn files_and_tests_that_it_names_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut files, mut tests) = (0, 0);
    for name in named() {
        if let Some((file, test)) = name.split_once("::") {
            let source =
                std::fs::read_to_string(root.join(file)).unwrap_or_else(|cause| panic!("{name}: {cause}"));
            assert!(source.contains(&format!("#[test]\nfn {test}()")), "there is no test {name}");
            tests += 1;
        } else if name.starts_with("tests/") || name.starts_with("deploy/") || name.starts_with(".ci/") {
            assert!(root.join(&name).exists(), "there is no {name}");
            files += 1;
        }
    }
    assert!(files > 15 && tests > 20, "{files} files, {tests} tests");
}

/// Every seed has a table, and no row of any is without what shows it.
#[test]
fn every_row_is_shown_by_something() {
    let text = text("README.md");
    let mut rows = 0;
    for seed in ["R2", "MinIO", "Taskfile", "NFS", "CephFS"] {
        let heading = format!("\n### {seed}");
        assert!(text.contains(&heading), "no table of {seed}");
        let table = text.split(&heading).nth(1).unwrap().split("\n### ").next().unwrap();
        let table = table.split("\n## ").next().unwrap();
        for row in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
            let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
            assert_eq!(cells.len(), 2, "{row}");
            assert!(cells[1].contains('`') || cells[1].starts_with("Not here"), "{row}");
            rows += 1;
        }
    }
    assert!(rows > 40, "{rows}");
    assert!(deploy().join("README.md").exists());
}
