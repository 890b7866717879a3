//! yamllint and shellcheck have nothing to say about deploy/ and the scripts of CI.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::peer;
use crate::yaml::{deploy, document, files};

#[track_caller]
fn silent(command: &mut Command) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn yamllint() {
    let Some(program) = peer("yamllint") else { return };
    let rules = deploy().join(".yamllint.yaml");
    silent(Command::new(program).arg("--strict").arg("-c").arg(rules).args(files(".yaml")));
}

#[test]
fn shellcheck() {
    let Some(program) = peer("shellcheck") else { return };
    let ci = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci");
    let mut scripts = files(".sh");
    assert!(scripts.len() >= 3, "{scripts:?}");
    scripts.extend(std::fs::read_dir(ci).unwrap().map(|entry| entry.unwrap().path()).filter(is_script));
    // What rustup wrote on another machine is not to be followed.
    silent(Command::new(program).arg("--exclude=SC1091").args(scripts));
}

/// Of a shell: its first line ends in `sh`.
fn is_script(path: &PathBuf) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().next().is_some_and(|line| line.starts_with("#!") && line.ends_with("sh"))
}

/// What the workflow runs is shell too.
#[test]
fn steps_of_the_workflow() {
    let Some(program) = peer("shellcheck") else { return };
    let workflow = document("ci/github-workflow.yaml");
    let steps = workflow["jobs"]["backup-and-verify"]["steps"].as_array().unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let runs: Vec<&str> = steps.iter().filter_map(|step| step["run"].as_str()).collect();
    assert_eq!(runs.len(), 2);
    for (number, run) in runs.iter().enumerate() {
        let file = folder.path().join(format!("{number}.sh"));
        std::fs::write(&file, format!("#!/bin/bash\n{run}\n")).unwrap();
        silent(Command::new(&program).arg(file));
    }
}
