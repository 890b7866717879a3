//! How the image is made for others: the Dockerfile, and the workflow of a release.
//!
//! Neither runs here as it does there: what the Dockerfile builds is looked at in `tests/volsync/image.rs`.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::yaml::{at, document};

#[test]
fn the_dockerfile_pulls_nothing_but_its_base() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("Dockerfile")).unwrap();
    // Such a line pulls an image that reads the file.
    assert!(!text.to_lowercase().replace(' ', "").contains("#syntax="), "{text}");
    let bases: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("FROM ")?.split(' ').next()).collect();
    assert_eq!(bases, ["${RUST_IMAGE}", "scratch", "${PROGRAM}", "scratch"]);
    for no in ["x86_64", "amd64", "aarch64", "arm64"] {
        let named = |line: &&str| !line.starts_with('#') && line.contains(no);
        assert_eq!(text.lines().find(named), None, "it is of one processor");
    }
    // What the build reads is let in.
    let ignore = fs::read_to_string(root.join(".dockerignore")).unwrap();
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for (needed, is_needed) in [
        ("Cargo.toml", true),
        ("Cargo.lock", true),
        ("src", true),
        ("benches", manifest.contains("[[bench]]")),
        (".ci/binary", text.contains(".ci/binary")),
        (".ci/rootfs", text.contains(".ci/rootfs")),
        ("dist", true),
    ] {
        assert_eq!(ignore.lines().any(|line| line == format!("!{needed}")), is_needed, "{needed}");
    }
}

fn step<'a>(job: &'a Value, name: &str) -> &'a str {
    let found = job["steps"].as_array().unwrap().iter().find(|step| step["name"] == name);
    at(found.unwrap_or_else(|| panic!("no step {name}")), "/run")
}

#[test]
fn a_release_is_built_for_both_processors_twice() {
    let workflow = document("../.github/workflows/release.yaml");
    let (program, publish) = (&workflow["jobs"]["program"], &workflow["jobs"]["publish"]);
    let built: Vec<_> = program["strategy"]["matrix"]["include"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (at(one, "/arch"), at(one, "/target")))
        .collect();
    assert_eq!(built, [("amd64", "x86_64-unknown-linux-gnu"), ("arm64", "aarch64-unknown-linux-gnu")]);
    let twice = step(program, "Build twice");
    assert_eq!(twice.matches("docker buildx build --no-cache ").count(), 2, "{twice}");
    assert!(
        twice.contains("\ncmp \"dist/$ARCH/usr/local/bin/volmover\" again/usr/local/bin/volmover\n"),
        "{twice}"
    );
    assert!(step(program, "Bill of materials").starts_with(".ci/sbom \"$TARGET\""));
    let image = step(publish, "Image");
    assert!(
        image.contains("--platform linux/amd64,linux/arm64 ") && image.contains("PROGRAM=prebuilt"),
        "{image}"
    );
    assert_eq!(workflow["permissions"], json!({"contents": "read"}));
}
