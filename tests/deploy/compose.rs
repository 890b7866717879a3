//! compose.yaml: every container of ours is restricted, and its commands make the round that it promises.
//!
//! The commands are run here one by one, in the order of `depends_on`, without Docker: the built binary on a
//! real MinIO, folders in place of volumes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use volmover::config::operation::Operation;
use volmover::config::variables;

use crate::place::Place;
use crate::s3::{ACCESS_KEY, SECRET_KEY};
use crate::support::listing::{assert_same, list};
use crate::support::scratch;
use crate::yaml::{at, deploy, document};

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

/// What stands in a field, as the Compose specification has it. A field that is not in use here is not listed.
const FIELDS: [(&str, Form); 15] = [
    ("build", Form::Text),
    ("cap_drop", Form::Texts),
    ("command", Form::Texts),
    ("depends_on.*.condition", Form::OneOf(&["service_healthy", "service_completed_successfully"])),
    ("environment.*", Form::Text),
    ("healthcheck.interval", Form::Duration),
    ("healthcheck.retries", Form::Number),
    ("healthcheck.test", Form::Texts),
    ("image", Form::Text),
    ("profiles", Form::Texts),
    ("read_only", Form::Boolean),
    ("security_opt", Form::Texts),
    ("tmpfs", Form::Texts),
    ("user", Form::Text),
    ("volumes", Form::Texts),
];

enum Form {
    Text,
    Texts,
    Number,
    Boolean,
    Duration,
    OneOf(&'static [&'static str]),
}

impl Form {
    fn fits(&self, value: &Value) -> bool {
        match self {
            Self::Text => value.as_str().is_some_and(|text| !text.is_empty()),
            Self::Texts => {
                value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(Value::is_string))
            }
            Self::Number => value.is_u64(),
            Self::Boolean => value.is_boolean(),
            Self::Duration => value
                .as_str()
                .and_then(|text| text.strip_suffix(['s', 'm', 'h']))
                .is_some_and(|number| number.parse::<u32>().is_ok()),
            Self::OneOf(known) => value.as_str().is_some_and(|text| known.contains(&text)),
        }
    }
}

/// The fields of a service with their paths; the names of variables and services are a star.
fn fields(service: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for (name, value) in service.as_object().unwrap() {
        match (name.as_str(), value.as_object()) {
            ("environment", Some(set)) => {
                found.extend(set.values().map(|one| (format!("{name}.*"), one.clone())));
            }
            ("depends_on", Some(set)) => {
                let each = set.values().flat_map(|one| one.as_object().unwrap());
                found.extend(each.map(|(field, one)| (format!("{name}.*.{field}"), one.clone())));
            }
            (_, Some(inner)) => {
                found.extend(inner.iter().map(|(field, one)| (format!("{name}.{field}"), one.clone())));
            }
            _ => found.push((name.clone(), value.clone())),
        }
    }
    found
}

#[test]
fn fields_are_those_of_compose() {
    let whole = document("compose/compose.yaml");
    for name in whole.as_object().unwrap().keys() {
        assert!(["name", "services", "volumes"].contains(&name.as_str()) || name.starts_with("x-"), "{name}");
    }
    let services = services();
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    assert_eq!(names, ["backup", "folder", "minio", "restore", "show", "verify"]);
    for (name, service) in &services {
        for (field, value) in fields(service) {
            let form = FIELDS.iter().find(|(known, _)| *known == field).map(|(_, form)| form);
            assert!(form.is_some_and(|form| form.fits(&value)), "{name}: {field}: {value}");
        }
        for needed in service["depends_on"].as_object().into_iter().flat_map(serde_json::Map::keys) {
            // What only runs when its profile is asked for starts for nobody else.
            assert!(services[needed]["profiles"].is_null(), "{name} waits for {needed}");
        }
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let parts: Vec<&str> = volume.as_str().unwrap().split(':').collect();
            assert!(
                parts[1].starts_with('/') && parts[2..].iter().all(|mode| *mode == "ro"),
                "{name}: {volume}"
            );
        }
    }
}

#[test]
fn variables_and_operations_are_those_of_the_program() {
    let known =
        |name: &str| variables::ALL.iter().any(|variable| variable.names().any(|known| known == name));
    let ours = ["backup", "verify", "restore"];
    for (name, service) in services() {
        assert_eq!(
            service["image"] == "${VOLMOVER_IMAGE:-volmover}",
            ours.contains(&name.as_str()),
            "{name}"
        );
        if !ours.contains(&name.as_str()) {
            continue;
        }
        let environment = service["environment"].as_object().unwrap();
        for variable in environment.keys() {
            assert!(known(variable), "{name}: volmover does not read {variable}");
        }
        for variable in ["RESTIC_REPOSITORY", "RESTIC_PASSWORD", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
        {
            assert!(environment.contains_key(variable), "{name} lacks {variable}");
        }
        for operation in service["command"].as_array().unwrap() {
            Operation::parse(operation.as_str().unwrap()).unwrap();
        }
        // What it reads or writes is one of its volumes.
        let mounted = service["volumes"].as_array().into_iter().flatten();
        let places: Vec<&str> =
            mounted.map(|volume| volume.as_str().unwrap().split(':').nth(1).unwrap()).collect();
        let verifies = name == "verify";
        assert!(
            verifies || places.contains(&environment["DATA_DIR"].as_str().unwrap()),
            "{name}: {places:?}"
        );
    }
    let context = deploy().join("compose").join(at(&document("compose/compose.yaml"), "/x-volmover/build"));
    assert!(context.join("Dockerfile").exists());
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
    let (services, folder) = (services(), scratch());
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
