//! RUNBOOK.md: every block of commands is run, section by section, and every link leads somewhere.
//!
//! `volmover` and restic work on a repository in a folder, `task` and `kubectl` on a model of a cluster. What
//! follows the first block begins with it, as it does for whoever reads. Blocks of `text` are not run.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::recorded::ended;
use crate::support::fixture::PASSWORD;
use crate::support::{mover, peer};
use crate::yaml::text;

/// A heading and the commands below it.
struct Section {
    heading: String,
    script: String,
}

fn sections() -> Vec<Section> {
    let mut found = vec![Section { heading: String::new(), script: String::new() }];
    let (mut inside, mut runs) = (false, false);
    for line in text("RUNBOOK.md").lines() {
        if let Some(language) = line.trim().strip_prefix("```") {
            inside = !inside;
            runs = inside && language == "sh";
            assert!(!inside || ["sh", "text"].contains(&language), "a block is neither run nor text: {line}");
        } else if let Some(heading) = line.strip_prefix("## ").filter(|_| !inside) {
            found.push(Section { heading: heading.to_owned(), script: String::new() });
        } else if runs {
            let section = found.last_mut().unwrap();
            section.script.push_str(line);
            section.script.push('\n');
        }
    }
    assert!(!inside, "a block is not closed");
    found
}

fn source(name: &str) -> Value {
    json!({
        "kind": "ReplicationSource", "metadata": {"namespace": "business", "name": name},
        "spec": {
            "sourcePVC": "odoo-data", "trigger": {"schedule": "0 */8 * * *"},
            "restic": {"repository": "odoo-secret", "copyMethod": "Snapshot"},
        },
    })
}

/// The cluster of the runbook, and its repository with two snapshots.
fn world() -> Option<Cluster> {
    let coded = |value: &str| STANDARD.encode(value);
    let cluster = Cluster::new(vec![source("odoo-backup"), source("wiki-src")]);
    let folder = cluster.folder().to_owned();
    let repository = folder.join("repository");
    let secret = json!({
        "kind": "Secret", "metadata": {"namespace": "business", "name": "odoo-secret"},
        "data": {
            "RESTIC_REPOSITORY": coded(repository.to_str().unwrap()), "RESTIC_PASSWORD": coded(PASSWORD),
            "AWS_ACCESS_KEY_ID": coded("none"), "AWS_SECRET_ACCESS_KEY": coded("none"),
        },
    });
    cluster.state().objects.push(secret);
    for (name, program) in [("task", peer("task")?), ("restic", peer("restic-0.19")?)] {
        symlink(program, folder.join("bin").join(name)).unwrap();
    }
    symlink(env!("CARGO_BIN_EXE_volmover"), folder.join("bin/volmover")).unwrap();
    let deploy = crate::yaml::deploy();
    let own = format!(
        "version: '3'\nincludes:\n  volsync: {{taskfile: {}, dir: .}}\n",
        deploy.join("Taskfile.yaml").display()
    );
    fs::write(folder.join("Taskfile.yaml"), own).unwrap();
    mover::create(&repository, 2);
    fs::create_dir_all(folder.join("old-state/letters")).unwrap();
    for letter in ["one", "two"] {
        fs::write(folder.join("old-state/letters").join(letter), letter).unwrap();
        let mut backup = cluster.command(env!("CARGO_BIN_EXE_volmover"));
        backup.arg("backup").env("RESTIC_REPOSITORY", &repository).env("RESTIC_PASSWORD", PASSWORD);
        ended(backup.env("DATA_DIR", "old-state").env("MOVER_PATH", "/data"), 0);
    }
    Some(cluster)
}

/// Turns a byte of the smallest pack, which holds a file.
fn damage(packs: &Path) {
    let folders = fs::read_dir(packs).unwrap().map(|folder| folder.unwrap().path());
    let packs = folders.flat_map(|folder| fs::read_dir(folder).unwrap()).map(|pack| pack.unwrap().path());
    let smallest = packs.min_by_key(|pack| fs::metadata(pack).unwrap().len()).unwrap();
    let mut bytes = fs::read(&smallest).unwrap();
    bytes[20] ^= 1;
    fs::remove_file(&smallest).unwrap();
    fs::write(smallest, bytes).unwrap();
}

#[test]
fn every_block_can_be_run() {
    let mut sections = sections();
    let first = sections.remove(0).script;
    assert!(first.contains("export RESTIC_REPOSITORY"), "{first}");
    sections.retain(|section| !section.script.is_empty());
    assert!(sections.len() > 20, "{}", sections.len());
    if world().is_none() {
        return;
    }
    let waiting = Mutex::new(sections);
    let work = || {
        loop {
            let Some(section) = waiting.lock().unwrap().pop() else { return };
            let cluster = world().unwrap();
            if section.heading == "A damaged repository" {
                damage(&cluster.folder().join("repository/data"));
            }
            let mut shell = cluster.command("/bin/bash");
            shell.args(["-euc", &format!("{first}\n{}", section.script)]).env("TMPDIR", cluster.folder());
            let output = shell.output().unwrap();
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(output.status.success(), "{}:\n{}\n{said}", section.heading, section.script);
            let warned = said.contains("unknown variable") || said.contains("is no variable");
            assert!(!warned, "{}: {said}", section.heading);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(work);
        }
    });
}

/// `](#anchor)` leads to a heading, `deploy/…` to a file.
#[test]
fn links_lead_somewhere() {
    let text = text("RUNBOOK.md");
    let anchors: BTreeSet<String> = text.lines().filter_map(anchor).collect();
    let mut links = 0;
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let target = link.strip_prefix('#').unwrap_or_else(|| panic!("{link} leads out"));
        assert!(anchors.contains(target), "there is no section {link}");
        links += 1;
    }
    assert!(links > 15, "{links}");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for name in text.split('`').skip(1).step_by(2) {
        if name.starts_with("deploy/") || name.starts_with("tests/") || name.starts_with("benches/") {
            let file = name.split(' ').next().unwrap();
            assert!(root.join(file).exists(), "there is no {file}");
        }
    }
}

/// The anchor that a heading gets.
pub(crate) fn anchor(line: &str) -> Option<String> {
    let heading = line.strip_prefix("## ").or_else(|| line.strip_prefix("### "))?.to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -".contains(*c));
    Some(kept.collect::<String>().replace(' ', "-"))
}

/// Every exit code has a row that leads on.
#[test]
fn every_exit_code_is_explained() {
    let text = text("RUNBOOK.md");
    for code in [1, 2, 3, 10, 11, 12, 20, 21, 22, 23, 24, 25] {
        assert!(text.contains(&format!("\n| {code} | ")), "exit code {code}");
    }
    assert!(text.contains("\n| 130, 143 | "));
}
