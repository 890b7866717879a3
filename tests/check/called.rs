//! The program itself: exit codes, streams, and the JSON that scripts read.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::made::one_blob_a_pack;
use crate::support::fixture::{self, PASSWORD};
use crate::support::restic::Restic;

fn run(repository: &Path, operation: &str, variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_volmover"))
        .arg(operation)
        .env_clear()
        .env("RESTIC_PASSWORD", PASSWORD)
        .env("RESTIC_REPOSITORY", repository)
        .env("MOVER_PATH", "*")
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn check_sums_up_as_restic_does_and_ends_in_21_on_damage() {
    for (name, code) in
        [("small", 0), ("unreferenced-pack", 0), ("unindexed-pack", 21), ("data-pack-flipped", 21)]
    {
        let copy = fixture::copy(name);
        let json = [("MOVER_JSON", "1"), ("MOVER_CHECK_READ_DATA", "1")];
        let ours = run(copy.path(), "check", &json);
        assert_eq!(ours.status.code(), Some(code), "{name}: {}", text(&ours.stderr));
        let Some(restic) = Restic::on("restic-0.19", copy.path()) else { return };
        let theirs = restic.run(&["check", "--read-data", "--json"]);
        assert_eq!(text(&ours.stdout), text(&theirs.stdout), "{name}");
        let errors = text(&ours.stderr);
        let first: Option<Value> = errors.lines().next().map(|line| serde_json::from_str(line).unwrap());
        assert_eq!(first.is_some(), code != 0, "{errors}");
        assert!(first.is_none_or(|object| object["message_type"] == "error"), "{errors}");
    }
}

#[test]
fn check_speaks_as_restic_does() {
    let copy = fixture::copy("unreferenced-pack");
    let ours = run(copy.path(), "check", &[("MOVER_CHECK_SUBSET", "1/1")]);
    let expected = "load indexes\ncheck all packs\n\
        2 additional files were found in the repo, which likely contain duplicate data.\n\
        This is non-critical, you can run prune to correct this.\n\
        check snapshots, trees and blobs\n\
        read group #1 of 2 data packs (out of total 2 packs in 1 groups)\n\
        no errors were found\n";
    assert_eq!((text(&ours.stdout).as_str(), ours.status.code()), (expected, Some(0)));
    let damaged = fixture::copy("tree-pack-absent");
    let ours = run(damaged.path(), "check", &[]);
    let errors = text(&ours.stderr);
    assert!(errors.starts_with(
        "pack c1cd9ce93c24028eca6970608b43e1c9e4a669d5d6687378ccf5e0070f10c059: does not exist\n"
    ));
    assert!(errors.lines().last().unwrap().starts_with("Fatal: the repository is damaged: "), "{errors}");
    assert!(!text(&ours.stdout).contains("no errors"));
}

#[test]
fn parts_are_chosen_and_told_as_restic_does() {
    let copy = fixture::copy("restic-0.19");
    let line = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        let line = text.lines().find(|line| line.starts_with("read ")).unwrap().to_owned();
        // restic forgets the bracket at the end of the line on groups.
        line.split(", seed").next().unwrap().trim_end_matches(')').to_owned()
    };
    for part in ["5%", "50%", "100%", "1/2", "2/2", "256/256", "500M", "20K"] {
        let ours = run(copy.path(), "check", &[("MOVER_CHECK_SUBSET", part)]);
        assert_eq!(ours.status.code(), Some(0), "{part}: {}", text(&ours.stderr));
        let Some(restic) = Restic::on("restic-0.19", copy.path()) else { return };
        let theirs = restic.ok(&["check", "--no-lock", &format!("--read-data-subset={part}")]);
        assert_eq!(line(&ours.stdout), line(theirs.as_bytes()), "{part}");
    }
    for bad in ["0%", "101%", "0/3", "4/3", "1/257", "some"] {
        assert_eq!(run(copy.path(), "check", &[("MOVER_CHECK_SUBSET", bad)]).status.code(), Some(2), "{bad}");
    }
}

#[test]
fn names_come_out_as_they_are() {
    let copy = fixture::copy("restic-0.19");
    let ours = run(copy.path(), "ls", &[]);
    assert!(ours.stdout.windows(16).any(|bytes| bytes == b"/names/latin1-\xe9\n"), "{}", text(&ours.stdout));
    let nothing = run(copy.path(), "ls", &[("MOVER_HOST", "nobody")]);
    assert_eq!(
        (text(&nothing.stdout).as_str(), nothing.status.code()),
        ("No eligible snapshots found\n", Some(0))
    );
    let variables = [("MOVER_HOST", "nobody"), ("MOVER_ON_EMPTY", "fail")];
    assert_eq!(run(copy.path(), "ls", &variables).status.code(), Some(24));
    assert_eq!(run(copy.path(), "ls", &[("MOVER_SNAPSHOT", "ffff")]).status.code(), Some(1));
}

#[test]
fn stats_count_what_the_variables_select() {
    let (_source, repository) = one_blob_a_pack();
    let count = |variables: &[(&str, &str)]| {
        let all = [&[("MOVER_JSON", "1")], variables].concat();
        let output = run(repository.path(), "stats", &all);
        let object: Value = serde_json::from_slice(&output.stdout).unwrap();
        object["snapshots_count"].as_u64().unwrap()
    };
    assert_eq!(count(&[]), 2);
    assert_eq!(count(&[("MOVER_SNAPSHOT", "latest")]), 1);
    assert_eq!(count(&[("MOVER_HOST", "nobody")]), 0);
    assert_eq!(count(&[("MOVER_TAGS", "none")]), 0);
    assert_eq!(count(&[("MOVER_PATH", "/elsewhere")]), 0);
}

#[test]
fn repairs_show_and_do_nothing_unless_told() {
    let copy = fixture::copy("unindexed-pack");
    let shown = run(copy.path(), "repair-index", &[]);
    assert!(text(&shown.stdout).ends_with("Nothing was changed: MOVER_REPAIR=apply does it\n"));
    let dry = [("MOVER_REPAIR", "apply"), ("MOVER_DRY_RUN", "1")];
    assert!(text(&run(copy.path(), "repair-index", &dry).stdout).contains("would replace"));
    assert_eq!(run(copy.path(), "check", &[]).status.code(), Some(21));
    let done = run(copy.path(), "repair-index", &[("MOVER_REPAIR", "apply")]);
    assert_eq!(done.status.code(), Some(0), "{}", text(&done.stderr));
    assert_eq!(run(copy.path(), "check", &[("MOVER_CHECK_READ_DATA", "1")]).status.code(), Some(0));
    let nothing = run(copy.path(), "repair-snapshots", &[("MOVER_REPAIR", "apply")]);
    assert_eq!(text(&nothing.stdout), "no snapshot loses anything\n");
}
