//! `docker run` by hand: nothing set, no volume, any user; the program as process 1.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::job::open_folder;
use crate::support::{is_root, skipped};
use crate::way::image;

/// `docker run` with arguments in front of the image's name and behind it: exit code, stdout, stderr.
fn run(options: &[&str], arguments: &[&str]) -> Option<(i32, String, String)> {
    let Some(image) = image() else {
        skipped("docker run: no Docker Engine answers");
        return None;
    };
    let mut command = Command::new("docker");
    command.args(["run", "--rm", "--network", "none"]).args(options).arg(image).args(arguments);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Some((output.status.code().unwrap(), text(&output.stdout), text(&output.stderr)))
}

#[test]
fn who_has_set_nothing_reads_what_is_missing_and_an_example() {
    let example =
        "Not set: RESTIC_REPOSITORY, RESTIC_PASSWORD. A complete example, with a repository in a folder:";
    let Some((code, out, _)) = run(&[], &[]) else { return };
    assert!(
        code == 2 && out.contains("Usage: ") && out.contains(example) && out.contains("docker run"),
        "{out}"
    );
    let (code, _, err) = run(&[], &["backup"]).unwrap();
    assert!(code == 2 && err.contains(example), "{err}");
    assert!(err.lines().last().unwrap().starts_with("Fatal: no repository. Set RESTIC_REPOSITORY"), "{err}");
    let (code, out, _) = run(&["--user", "4711"], &["--version", "--verbose"]).unwrap();
    assert!(code == 0 && out.contains("zstd-sys "), "{out}");
}

#[test]
fn the_example_works_for_any_user() {
    let (data, repository) = (open_folder(), open_folder());
    fs::write(data.path().join("file"), "content").unwrap();
    fs::set_permissions(data.path().join("file"), fs::Permissions::from_mode(0o644)).unwrap();
    let volumes = [
        format!("{}:/data:ro", data.path().display()),
        format!("{}:/repository", repository.path().display()),
    ];
    let options = |user: &'static str| {
        let [data, repository] = [volumes[0].as_str(), volumes[1].as_str()];
        let set = ["-e", "RESTIC_REPOSITORY=/repository", "-e", "RESTIC_PASSWORD=x", "--user", user];
        [&["-v", data, "-v", repository][..], &set[..]].concat()
    };
    let Some((code, out, err)) = run(&options("4711:4711"), &["backup", "snapshots"]) else { return };
    assert!(code == 0 && out.contains(" saved\n") && out.ends_with("1 snapshots\n"), "{out}{err}");
    assert!(!out.contains("==="), "{out}");
    if is_root() {
        let hardened =
            ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--memory", "256m"];
        let options = [&options("4711:4711")[..], &hardened[..], &["--cpus", "1"]].concat();
        let (code, out, err) = run(&options, &["backup", "snapshots"]).unwrap();
        assert!(code == 0 && out.contains(" saved\n"), "{out}{err}");
    }
}
