//! The floors hold: no file of `src/` imports from a floor above its own, rustic and the object store's
//! runtime stay in their rooms, only `config/env.rs` reads variables, and no file grows past 600 lines.
//!
//! The rules look at names, not at types: comments and literals are blanked out, then every path that starts
//! with `crate` or with as many `super` as lead to the crate's root is resolved to its top module. Each rule
//! has sources here that it must catch, so that a rule that stopped looking fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::path::Path;

/// Modules of the crate's root by floor, as in the crate documentation.
const FLOORS: [&[&str]; 6] = [
    &["error", "clock", "random", "host", "pattern", "report"],
    &["backend"],
    &["repository"],
    &["backup", "restore", "verify", "forget", "prune", "check", "repair", "rustic"],
    &["ops"],
    &[
        "allocator",
        "cli",
        "config",
        "outlets",
        "sequence",
        "signals",
        "stores",
        "version",
        "volsync",
        "main",
        "lib",
    ],
];

/// Names that are allowed in some files only: the names, and where a path may begin to use them.
const ROOMS: [(&[&str], &[&str]); 3] = [
    (&["rustic_core", "rustic_backend"], &["rustic/", "rustic.rs"]),
    (&["opendal"], &["backend/object"]),
    (&["tokio"], &["backend/object", "outlets/http.rs"]),
];

/// Lines of code a file may have: without blank lines, comments and its own tests.
const LINES_MAX: usize = 600;

#[test]
fn the_source_keeps_its_floors() {
    let mut broken = Vec::new();
    let mut files = 0;
    visit(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut |path, text| {
        files += 1;
        broken.extend(broken_rules(path, text));
    });
    assert!(files > 20, "only {files} files were found");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

fn visit(folder: &Path, prefix: &str, each: &mut impl FnMut(&str, &str)) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{prefix}{}", entry.file_name().to_str().unwrap());
        if entry.path().is_dir() {
            visit(&entry.path(), &format!("{path}/"), each);
        } else if entry.path().extension().is_some_and(|extension| extension == "rs") {
            each(&path, &fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// What is wrong with one file, a line each. `path` starts below `src/`.
fn broken_rules(path: &str, text: &str) -> Vec<String> {
    let code = without_comments_and_literals(text);
    let (own, tests) = split_off_tests(&code);
    let mut broken = Vec::new();
    let module = module_path(path);
    for (part, depth) in [(own, module.len()), (tests, module.len() + 1)] {
        broken.extend(upward_imports(&module, &root_modules_used(part, depth)));
    }
    for (names, rooms) in ROOMS {
        if !rooms.iter().any(|room| path.starts_with(room)) {
            broken
                .extend(names.iter().filter(|name| has_word(&code, name)).map(|name| format!("uses {name}")));
        }
    }
    // A file `tests.rs` is the test module of its folder.
    let is_tests = path.ends_with("tests.rs");
    if path != "config/env.rs" && !is_tests && reads_environment(own) {
        broken.push("uses std::env, which config/env.rs alone may".to_owned());
    }
    let lines = own.lines().filter(|line| !line.trim().is_empty()).count();
    if lines > LINES_MAX && !is_tests {
        broken.push(format!("has {lines} lines of code, {LINES_MAX} are allowed"));
    }
    broken.dedup();
    broken.iter().map(|what| format!("src/{path} {what}")).collect()
}

/// `backend/local/write.rs` → backend, local, write.
fn module_path(path: &str) -> Vec<&str> {
    let mut module: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    if module.last() == Some(&"mod") {
        module.pop();
    }
    if module == ["lib"] || module == ["main"] { Vec::new() } else { module }
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

fn upward_imports(module: &[&str], used: &[String]) -> Vec<String> {
    let Some(own_name) = module.first() else { return Vec::new() };
    let Some(own_floor) = floor(own_name) else {
        return vec![format!("is in the module {own_name}, which has no floor in tests/architecture.rs")];
    };
    let judge = |name: &String| match floor(name) {
        Some(other) if other > own_floor => {
            Some(format!("on floor {own_floor} imports {name} of floor {other}"))
        }
        Some(_) => None,
        None => Some(format!("imports crate::{name}, which has no floor in tests/architecture.rs")),
    };
    used.iter().filter_map(judge).collect()
}

/// The modules of the crate's root that the code names: after `crate::`, and after `depth` times `super::`.
fn root_modules_used(code: &str, depth: usize) -> Vec<String> {
    let mut used = Vec::new();
    let to_root = "super::".repeat(depth);
    let mut starts = vec!["crate::"];
    if depth > 0 {
        starts.push(&to_root);
    }
    for start in starts {
        for (position, _) in code.match_indices(start) {
            // Not the end of a longer word or path, and not one `super` of more.
            if !code[..position].ends_with(|before: char| is_word(before) || before == ':') {
                used.extend(first_names(&code[position + start.len()..]));
            }
        }
    }
    used.sort();
    used.dedup();
    used
}

/// `a::b` → a; `{a, b::{c, d}}` → a, b.
fn first_names(rest: &str) -> Vec<String> {
    let Some(group) = rest.strip_prefix('{') else {
        return Some(first_word(rest))
            .filter(|name| !name.is_empty() && name != "super")
            .into_iter()
            .collect();
    };
    let mut names = Vec::new();
    let mut depth = 0;
    let mut start = 0;
    for (position, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                names.push(first_word(group[start..position].trim()));
                start = position + 1;
                if character == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty() && name != "self");
    names
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|character| is_word(*character)).collect()
}

fn is_word(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(position, _)| {
        !code[..position].ends_with(is_word) && !code[position + word.len()..].starts_with(is_word)
    })
}

/// Whether code reads the environment: `std::env`, alone or in a group. Arguments are no variables, and what
/// the target is was known when it was built.
fn reads_environment(code: &str) -> bool {
    const HARMLESS: [&str; 3] = ["env::args_os", "env::consts::", "env::current_exe"];
    let paths = code.match_indices("std::").any(|(position, start)| {
        let rest = &code[position + start.len()..];
        first_names(rest).iter().any(|name| name == "env")
            && !HARMLESS.iter().any(|name| rest.starts_with(name))
    });
    paths || ["env::var", "env::vars"].iter().any(|word| code.contains(word))
}

/// The code before `mod tests {` and from there on.
fn split_off_tests(code: &str) -> (&str, &str) {
    code.split_at(code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len()))
}

/// The text with comments, strings and character literals blanked out; lines stay lines.
fn without_comments_and_literals(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = literal_or_comment_bytes(rest, code.chars().next_back());
        if skipped == 0 {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            let (gone, after) = rest.split_at(skipped);
            code.push(' ');
            code.extend(gone.chars().filter(|character| *character == '\n'));
            rest = after;
        }
    }
    code
}

fn literal_or_comment_bytes(rest: &str, before: Option<char>) -> usize {
    let upto = |end: Option<usize>| end.unwrap_or(rest.len());
    if rest.starts_with("//") {
        return upto(rest.find('\n'));
    }
    if rest.starts_with("/*") {
        return upto(rest.find("*/").map(|end| end + 2));
    }
    if rest.starts_with('r') && !before.is_some_and(|before| is_word(before) && before != 'b') {
        let hashes = rest[1..].chars().take_while(|character| *character == '#').count();
        if rest[1 + hashes..].starts_with('"') {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = 2 + hashes;
            return upto(rest[start..].find(&end).map(|position| start + position + end.len()));
        }
    }
    if rest.starts_with('"') {
        return quoted_bytes(rest, '"');
    }
    // A lifetime has no closing quote after one character.
    let mut after_quote = rest.chars().skip(1);
    if rest.starts_with('\'') && (after_quote.next() == Some('\\') || after_quote.next() == Some('\'')) {
        return quoted_bytes(rest, '\'');
    }
    0
}

fn quoted_bytes(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (position, character) in rest.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote => return position + character.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

#[test]
fn imports_that_run_upward_are_caught() {
    for (path, text) in [
        ("repository/pack.rs", "use crate::backup::chunk::Rabin;"),
        ("repository/mod.rs", "use crate::{\n    error::Error,\n    ops::backup,\n};"),
        ("backend/mod.rs", "use crate::repository::Id;"),
        ("backend/local.rs", "fn f() { let id = crate::repository::Id::of(b\"\"); }"),
        ("backend/local.rs", "use super::super::repository::Id;"),
        ("backend/local/write.rs", "use super::super::super::repository::Id;"),
        ("clock.rs", "use super::backend::Backend;"),
        ("error.rs", "pub(in crate::config) struct A;\nuse crate::config;"),
        ("backup/mod.rs", "#[cfg(test)]\nmod tests {\n    use crate::ops::init;\n}"),
        ("restore/mod.rs", "use crate::{error::{Error, Result}, cli};"),
        ("ops/init.rs", "use crate::config::Config;"),
        ("ops/init.rs", "use crate::newcomer::Thing;"),
        ("newcomer/mod.rs", "fn f() {}"),
    ] {
        assert_eq!(broken_rules(path, text).len(), 1, "{path}: {text}");
    }
}

#[test]
fn imports_that_run_down_or_sideways_pass() {
    for (path, text) in [
        ("repository/mod.rs", "use crate::backend::{Backend, FileType};\nuse crate::error::Result;"),
        (
            "backup/walk.rs",
            "use crate::repository::tree::Node;\nuse super::run::Run;\nuse super::super::error::Error;",
        ),
        ("backend/local/write.rs", "use super::super::error;\nuse super::ops;"),
        ("config/mod.rs", "use crate::cli::Arguments;"),
        ("main.rs", "use volmover::ops;"),
        (
            "clock.rs",
            "//! `crate::ops` uses it.\n/* crate::ops */ const A: &str = \"crate::ops\"; // crate::ops\n",
        ),
        (
            "clock.rs",
            "const A: &str = r#\"crate::ops \"quoted\" \"#; const B: char = '\"'; fn f<'a>() {} // crate::ops",
        ),
        ("clock.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n    use super::super::error::Error;\n}"),
    ] {
        assert_eq!(broken_rules(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn guests_outside_their_rooms_are_caught() {
    for (path, text) in [
        ("backup/mod.rs", "use rustic_core::Repository;"),
        ("ops/init.rs", "fn f() { rustic_backend::all(); }"),
        ("backend/local.rs", "use tokio::runtime::Runtime;"),
        ("backend/retry.rs", "use opendal::Operator;"),
        ("clock.rs", "use std::env;"),
        ("main.rs", "use std::{env, fs};"),
        ("main.rs", "fn f() { std::env::var(\"RESTIC_PASSWORD\"); }"),
        ("config/mod.rs", "fn f() -> Vec<String> { std::env::args().collect() }"),
    ] {
        assert_eq!(broken_rules(path, text).len(), 1, "{path}: {text}");
    }
    for (path, text) in [
        ("rustic/mod.rs", "use rustic_core::Repository;"),
        ("backend/object.rs", "use opendal::Operator;"),
        ("backend/object/runtime.rs", "use tokio::runtime::Runtime;"),
        ("config/env.rs", "use std::env;"),
        ("cli.rs", "const A: &str = std::env::consts::OS;"),
        ("main.rs", "fn f() { let name = std::env::args_os().next(); let v = env!(\"CARGO_PKG_VERSION\"); }"),
        ("clock.rs", "#[cfg(test)]\nmod tests {\n    fn f() { std::env::temp_dir(); }\n}"),
    ] {
        assert_eq!(broken_rules(path, text), Vec::<String>::new(), "{path}: {text}");
    }
}

#[test]
fn files_that_grew_too_long_are_caught() {
    let long = "fn f() {}\n".repeat(LINES_MAX + 1);
    assert_eq!(broken_rules("clock.rs", &long).len(), 1);
    let documented = format!("{}{}", "// why\n\n".repeat(100), "fn f() {}\n".repeat(LINES_MAX));
    assert_eq!(broken_rules("clock.rs", &documented), Vec::<String>::new());
    let tested = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
    assert_eq!(broken_rules("clock.rs", &tested), Vec::<String>::new());
}
