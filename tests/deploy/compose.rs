//! compose.yaml: every container of ours is restricted, and its commands make the round that it promises.
//!
//! The commands are run here one by one, in the order of `depends_on`, without Docker: the built binary on a
//! real MinIO, folders in place of volumes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::place::Place;
use crate::s3::{ACCESS_KEY, SECRET_KEY};
use crate::support::listing::{assert_same, list};
use crate::yaml::{at, document};

fn services() -> serde_json::Map<String, Value> {
    document("compose/compose.yaml")["services"].as_object().unwrap().clone()
}

#[test]
fn containers_are_restricted_and_start_in_order() {
    let services = services();
    for (name, needs) in
        [("backup", "folder"), ("backup", "minio"), ("verify", "backup"), ("restore", "verify")]
    {
        let service = &services[name];
        assert_eq!((&service["read_only"], &service["cap_drop"]), (&json!(true), &json!(["ALL"])), "{name}");
        assert_eq!(service["security_opt"], json!(["no-new-privileges"]), "{name}");
        assert_eq!(service["command"], json!([name]));
        let condition = if needs == "minio" { "service_healthy" } else { "service_completed_successfully" };
        assert_eq!(service["depends_on"][needs]["condition"], condition, "{name}");
    }
    assert!(services["minio"]["healthcheck"]["test"].is_array());
    let volumes = document("compose/compose.yaml")["volumes"].clone();
    for (name, service) in &services {
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let volume = volume.as_str().unwrap().split(':').next().unwrap();
            assert!(volumes.as_object().unwrap().contains_key(volume), "{name}: {volume}");
        }
    }
}

/// A text with the container's paths and names replaced by those of this machine.
fn here(text: &str, folder: &Path, place: &Place) -> String {
    let store = place.url.strip_prefix("s3:").unwrap().split("/repository/").next().unwrap();
    text.replace("http://minio:9000/backup", &format!("{store}/repository"))
        .replace("/data", &folder.join("data").display().to_string())
        .replace("/restored", &folder.join("restored").display().to_string())
}

#[track_caller]
fn succeeds(mut command: Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8([stdout, stderr].concat()).unwrap();
    assert!(status.success(), "{command:?}\n{text}");
    text
}

#[test]
fn the_round_that_it_promises() {
    let Some(place) = Place::empty_minio() else { return };
    let (services, folder) = (services(), TempDir::new().unwrap());
    for volume in ["data", "restored"] {
        fs::create_dir(folder.path().join(volume)).unwrap();
    }
    let shell = |service: &str| {
        let words = services[service]["command"].as_array().unwrap();
        let mut command = Command::new(words[0].as_str().unwrap());
        for word in &words[1..] {
            command.arg(here(word.as_str().unwrap(), folder.path(), &place));
        }
        command
    };
    let volmover = |service: &str| {
        let mut environment = BTreeMap::new();
        for (name, value) in services[service]["environment"].as_object().unwrap() {
            environment.insert(name.clone(), here(value.as_str().unwrap(), folder.path(), &place));
        }
        // The same user on both sides; the server of the tests knows another one.
        assert_eq!(environment["AWS_ACCESS_KEY_ID"], at(&services["minio"], "/environment/MINIO_ROOT_USER"));
        assert_eq!(
            environment["AWS_SECRET_ACCESS_KEY"],
            at(&services["minio"], "/environment/MINIO_ROOT_PASSWORD")
        );
        let mut command = Command::new(env!("CARGO_BIN_EXE_volmover"));
        command.env_clear().envs(environment).env("TMPDIR", folder.path());
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        command
            .args(services[service]["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()));
        command
    };
    succeeds(shell("folder"));
    assert!(succeeds(volmover("backup")).contains(" saved\n"));
    let said = succeeds(volmover("verify"));
    assert!(said.contains("ok      content: ") && said.contains("ok      min-files: 2 files"), "{said}");
    succeeds(volmover("restore"));
    assert_same(
        &list(&folder.path().join("data")),
        &list(&folder.path().join("restored")),
        "the restored folder",
    );
    succeeds(shell("show"));
    fs::write(folder.path().join("restored/numbers"), "1").unwrap();
    assert!(!shell("show").output().unwrap().status.success(), "it sees a difference");
}
