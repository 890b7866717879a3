//! `docker run` by hand: nothing set, no volume, any user; the program as process 1.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::job::{Store, open_folder};
use crate::minio::Minio;
use crate::support::listing::list;
use crate::support::source::random_bytes;
use crate::support::{is_required, is_root, scaled, skipped};
use crate::way::image;

/// `docker run` with arguments in front of the image's name and behind it: exit code, stdout, stderr.
fn run(options: &[&str], arguments: &[&str]) -> Option<(i32, String, String)> {
    let Some(image) = image() else {
        skipped("docker run: no Docker Engine answers");
        return None;
    };
    let mut command = Command::new("docker");
    let network = if options.contains(&"--network") { &[][..] } else { &["--network", "none"] };
    command.args(["run", "--rm"]).args(network).args(options).arg(image).args(arguments);
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
    // The same on a terminal, and with everything taken away.
    let (code, out, err) = run(&[&options("4711:4711")[..], &["--tty"]].concat(), &["snapshots"]).unwrap();
    assert!(code == 0 && out.ends_with("1 snapshots\r\n"), "{out}{err}");
    let options = [&options("4711:4711")[..], &HARDENED[..]].concat();
    let (code, out, err) = run(&options, &["backup", "snapshots", "check"]).unwrap();
    assert!(code == 0 && out.contains(" saved\n"), "{out}{err}");
}

const HARDENED: [&str; 5] = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"];
const SMALL: [&str; 6] = ["--memory", "256m", "--memory-swap", "256m", "--cpus", "1"];

/// Whether a container that takes more memory than it may have is killed here: key derivation alone takes 32 MiB.
fn memory_bites() -> bool {
    let limit = ["--memory", "24m", "--memory-swap", "24m", "--tmpfs", "/tmp:mode=1777"];
    let set = ["-e", "RESTIC_REPOSITORY=/tmp/repository", "-e", "RESTIC_PASSWORD=x"];
    run(&[&limit[..], &set].concat(), &["init"]).is_some_and(|(code, ..)| code == 137)
}

#[test]
fn a_large_source_goes_through_in_little_memory() {
    if image().is_none() || !is_root() {
        return skipped("a large source in a small container: that needs an engine, and root");
    }
    if !memory_bites() {
        assert!(!is_required(), "--memory has no effect here: nothing can be concluded from it");
        return skipped("a large source in a small container: --memory has no effect here");
    }
    let (data, repository, target) = (open_folder(), open_folder(), open_folder());
    let bytes = scaled(512 << 20).min(5 << 30);
    large(data.path(), bytes as u64);
    let mounts = |data: &Path| {
        [format!("{}:/data", data.display()), format!("{}:/repository", repository.path().display())]
    };
    for (folder, operation) in [(data.path(), "backup"), (target.path(), "restore")] {
        let [data, repository] = mounts(folder);
        let options = ["-v", &data, "-v", &repository, "--user", "4711:4711"];
        let set = ["-e", "RESTIC_REPOSITORY=/repository", "-e", "RESTIC_PASSWORD=x"];
        let (code, out, err) = run(&[&options[..], &set, &HARDENED, &SMALL].concat(), &[operation]).unwrap();
        assert_eq!(code, 0, "{operation}: {out}{err}");
    }
    assert_eq!(content(data.path()), content(target.path()));
}

/// What a folder holds, owners and times of whoever made it apart.
fn content(folder: &Path) -> Vec<String> {
    let of = |line: &str| line.split('\t').skip(4).take(2).collect::<Vec<_>>().join(" ");
    list(folder).lines().map(of).collect()
}

#[test]
fn a_folder_goes_to_minio_and_comes_back() {
    if image().is_none() {
        return skipped("docker run on MinIO: no Docker Engine answers");
    }
    let Some(minio) = Minio::start(false) else { return };
    let (data, target) = (open_folder(), open_folder());
    large(data.path(), 20 << 20);
    let (url, keys) = minio.place("bucket/folder").for_restic();
    let mut set = vec![("RESTIC_REPOSITORY".to_owned(), url), ("RESTIC_PASSWORD".to_owned(), "x".to_owned())];
    set.extend(keys);
    let set: Vec<String> = set.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let set: Vec<&str> = set.iter().flat_map(|one| ["-e", one]).collect();
    for (folder, operations) in [(data.path(), &["backup", "check"][..]), (target.path(), &["restore"])] {
        let volume = format!("{}:/data", folder.display());
        let options = ["-v", &volume, "--network", "host", "--user", "4711:4711"];
        let (code, out, err) = run(&[&options[..], &set, &HARDENED].concat(), operations).unwrap();
        assert_eq!(code, 0, "{operations:?}: {out}{err}");
    }
    assert_eq!(content(data.path()), content(target.path()));
}

/// Files of `bytes` in all: every fifth MiB is random, the others are holes.
fn large(folder: &Path, bytes: u64) {
    for (number, name) in (0..4).zip(["a", "b", "c", "d"]) {
        let path = folder.join(name);
        let file = fs::File::create(&path).unwrap();
        file.set_len(bytes / 4).unwrap();
        for block in (0..(bytes / 4) >> 20).step_by(5) {
            let content = random_bytes(number << 32 | block, 1 << 20);
            std::os::unix::fs::FileExt::write_all_at(&file, &content, block << 20).unwrap();
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    }
}
