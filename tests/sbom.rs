//! The software bill of materials names what the program is made of, and nothing that only tests use.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[path = "support/mod.rs"]
mod support;

fn bill() -> Option<Vec<u8>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/sbom");
    match Command::new("python3").arg(script).output() {
        Ok(output) => {
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(output.stdout)
        }
        Err(cause) => {
            assert!(!support::is_required(), "python3: {cause}");
            support::skipped("the bill of materials: python3 is missing");
            None
        }
    }
}

#[test]
fn the_bill_is_that_of_the_program() {
    let Some(text) = bill() else { return };
    assert_eq!(Some(&text), bill().as_ref(), "the same sources give the same bill");
    let bill: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    assert_eq!(bill["metadata"]["component"]["version"], env!("CARGO_PKG_VERSION"));
    let components = bill["components"].as_array().unwrap();
    let lock = include_str!("../Cargo.lock");
    for component in components {
        let text = |name: &str| component[name].as_str().unwrap();
        let checksum = component["hashes"][0]["content"].as_str().unwrap();
        let locked = format!("name = \"{}\"\nversion = \"{}\"\n", text("name"), text("version"));
        let (_, rest) = lock.split_once(&locked).unwrap_or_else(|| panic!("{locked}"));
        let package = rest.split("[[package]]").next().unwrap();
        assert!(package.contains(&format!("checksum = \"{checksum}\"")), "{locked}");
        assert!(component["licenses"][0]["expression"].is_string(), "{locked}");
        assert_eq!(text("purl"), format!("pkg:cargo/{}@{}", text("name"), text("version")));
    }
    let names: BTreeSet<_> = components.iter().map(|component| component["name"].as_str().unwrap()).collect();
    for (section, belongs) in [("[dependencies]", true), ("[dev-dependencies]", false)] {
        let manifest = include_str!("../Cargo.toml");
        let lines = manifest.split_once(section).unwrap().1.split("\n[").next().unwrap().lines();
        let ours = lines.filter_map(|line| line.split_once(" = ").map(|(name, _)| name));
        // Tests talk to servers with what the program's own client is made of.
        let shared = ["hyper", "hyper-util", "tokio-rustls"];
        for name in ours.filter(|name| belongs || !shared.contains(name)) {
            assert_eq!(names.contains(name), belongs, "{name} in {section}");
        }
    }
    // What the program says of itself is part of it, and no longer only a test's.
    let said =
        Command::new(env!("CARGO_BIN_EXE_volmover")).args(["--version", "--verbose"]).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    let parts: Vec<_> = said.lines().skip(3).map(|line| line.split_once(' ').unwrap()).collect();
    assert!(parts.len() > 10, "{said}");
    for (name, version) in parts {
        let linked = components.iter().any(|one| one["name"] == name && one["version"] == version);
        assert!(linked, "{name} {version}");
    }
    let references: Vec<_> = components.iter().map(|component| &component["bom-ref"]).collect();
    let root = &bill["metadata"]["component"]["bom-ref"];
    for dependency in bill["dependencies"].as_array().unwrap() {
        for reference in dependency["dependsOn"].as_array().unwrap().iter().chain([&dependency["ref"]]) {
            assert!(references.contains(&reference) || reference == root, "{reference}");
        }
    }
}
