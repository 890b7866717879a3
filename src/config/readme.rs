//! The tables that the README shows, made from what the program knows: variables and exit codes.

use std::fmt::Write;

use super::variable::{Group, Variable};
use super::variables::ALL;
use crate::error::ErrorKind;

/// All variables as Markdown, a table a group.
#[must_use]
pub fn variables() -> String {
    let mut text = String::new();
    for group in Group::ALL {
        let rows = ALL.iter().filter(|variable| variable.group == group);
        let _ = write!(
            text,
            "### {}\n\n| variable | option | default | meaning |\n|---|---|---|---|\n",
            group.title()
        );
        for variable in rows {
            text.push_str(&row(variable));
        }
        text.push('\n');
    }
    text
}

/// All exit codes as Markdown.
#[must_use]
pub fn exit_codes() -> String {
    let mut text = "| code | when |\n|---|---|\n| 0 | done; also, unless told otherwise, an empty source, \
                    or nothing eligible to restore |\n"
        .to_owned();
    for kind in ErrorKind::ALL {
        let _ = writeln!(text, "| {} | {} |", kind.exit_code(), kind.meaning());
    }
    text
}

fn row(variable: &Variable) -> String {
    let names: Vec<String> = variable.names().map(|name| format!("`{name}`")).collect();
    let option = variable.option.map_or(String::new(), |option| format!("`--{option}`"));
    let cells = [names.join(", "), option, variable.default.to_owned(), variable.meaning.to_owned()];
    let cells = cells.map(|cell| cell.replace('|', "\\|").replace('*', "\\*"));
    format!("| {} |\n", cells.join(" | "))
}
