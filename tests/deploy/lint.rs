//! yamllint and shellcheck have nothing to say about deploy/, the scripts of CI and of the benches, and the workflows.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::peer;
use crate::support::scratch;
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
    let workflows = WORKFLOWS.map(|name| deploy().join(name));
    silent(Command::new(program).arg("--strict").arg("-c").arg(rules).args(files(".yaml")).args(workflows));
}

#[test]
fn shellcheck() {
    let Some(program) = peer("shellcheck") else { return };
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut scripts = files(".sh");
    assert!(scripts.len() >= 3, "{scripts:?}");
    for (folder, name) in [(".ci", "run"), ("benches", "run")] {
        let found = std::fs::read_dir(root.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        scripts.extend(found.filter(is_script));
        assert!(scripts.contains(&root.join(folder).join(name)), "{scripts:?}");
    }
    // What rustup wrote on another machine is not to be followed.
    silent(Command::new(program).arg("--exclude=SC1091").args(scripts));
}

/// Of a shell: its first line ends in `sh`.
fn is_script(path: &PathBuf) -> bool {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().next().is_some_and(|line| line.starts_with("#!") && line.ends_with("sh"))
}

/// Of GitHub, as `deploy/` sees them: the one for users, and our own.
const WORKFLOWS: [&str; 3] =
    ["ci/github-workflow.yaml", "../.github/workflows/ci.yaml", "../.github/workflows/release.yaml"];

/// What workflows run is shell too.
#[test]
fn steps_of_the_workflows() {
    let Some(program) = peer("shellcheck") else { return };
    let folder = scratch();
    let mut counts = Vec::new();
    for name in WORKFLOWS {
        let workflow = document(name);
        let jobs = workflow["jobs"].as_object().unwrap().values();
        let steps = jobs.flat_map(|job| job["steps"].as_array().unwrap());
        let runs: Vec<&str> = steps.filter_map(|step| step["run"].as_str()).collect();
        counts.push(runs.len());
        for run in runs {
            // What GitHub fills in is a word.
            let (mut text, mut rest) = ("#!/bin/bash -e\n".to_owned(), run);
            while let Some((before, after)) = rest.split_once("${{") {
                text += before;
                text += "word";
                rest = after.split_once("}}").unwrap().1;
            }
            let file = folder.path().join("step.sh");
            std::fs::write(&file, format!("{text}{rest}\n")).unwrap();
            silent(Command::new(&program).arg(file));
        }
    }
    assert_eq!(counts, [2, 3, 7]);
}
