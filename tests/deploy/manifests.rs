//! Every manifest parses, holds no secret and nothing that VolSync does not know; jobs are restricted; what names
//! variables of volmover names ones that exist.

use serde_json::{Value, json};
use volmover::config::variables;

use crate::rendered::{Rendered, without_default};
use crate::schema;
use crate::yaml::{at, deploy, document, documents, files, text, walk};

/// Values that stand for names until they are filled in.
fn with_values(text: &str) -> String {
    let mut filled = text.to_owned();
    // Defaults hold names at most once more inside.
    while let Some(begin) = filled.rfind("${") {
        let end = begin + filled[begin..].find('}').unwrap();
        let inside = &filled[begin + 2..end];
        let value = match inside.split_once(":=") {
            Some((_, default)) => default.to_owned(),
            None if inside.ends_with("GID") || inside.ends_with("UID") => "1000".to_owned(),
            None => format!("x-{}", inside.to_lowercase().replace('_', "-")),
        };
        filled.replace_range(begin..=end, &value);
    }
    filled
}

/// Every object of every file, names filled in.
fn objects() -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for file in files(".yaml") {
        let name = file.strip_prefix(deploy()).unwrap().to_str().unwrap().to_owned();
        // A workflow has braces of its own.
        let filled = if name.starts_with("ci/") { text(&name) } else { with_values(&text(&name)) };
        let documents = documents(&filled);
        assert!(!documents.is_empty(), "{name} is empty");
        found.extend(documents.into_iter().map(|document| (name.clone(), document)));
    }
    assert!(found.len() > 35, "{}", found.len());
    found
}

#[test]
fn every_object_of_volsync_has_fields_that_exist() {
    let mut sources = 0;
    for (_, object) in objects().iter().filter(|(_, object)| schema::is_of_a_table(object)) {
        schema::check(object);
        sources += usize::from(object["kind"] == "ReplicationSource");
    }
    assert_eq!(sources, 3);
}

/// Passwords come from a store; what is plain here are variables that are none.
#[test]
fn no_secret_is_in_a_file() {
    for (name, object) in objects() {
        if name.starts_with("compose/") {
            continue;
        }
        if object["kind"] == "Secret" {
            let keys = object["stringData"].as_object().unwrap().keys();
            assert!(object["data"].is_null() && keys.clone().all(|key| key.starts_with("MOVER_")), "{name}");
        }
        walk(&object, "", &mut |path, value| {
            let secret = ["PASSWORD", "SECRET_ACCESS_KEY"].iter().any(|word| path.ends_with(word));
            let template = value.as_str().is_some_and(|value| value.contains("{{ "));
            assert!(!secret || template, "{name}: {path}");
        });
    }
}

#[test]
fn jobs_are_restricted_and_end() {
    let objects = objects();
    let jobs: Vec<&Value> =
        objects.iter().map(|(_, object)| object).filter(|object| object["kind"] == "CronJob").collect();
    assert_eq!(jobs.len(), 3);
    for job in jobs {
        let (spec, template) = (&job["spec"], &job["spec"]["jobTemplate"]["spec"]);
        assert_eq!(spec["concurrencyPolicy"], "Forbid");
        assert!(
            spec["startingDeadlineSeconds"].is_u64() && template["activeDeadlineSeconds"].is_u64(),
            "{job:#}"
        );
        assert!(template["backoffLimit"].is_u64() && template["ttlSecondsAfterFinished"].is_u64(), "{job:#}");
        let pod = &template["template"]["spec"];
        assert_eq!(pod["restartPolicy"], "Never");
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let [container] = pod["containers"].as_array().unwrap().as_slice() else { panic!("{pod:#}") };
        assert_eq!(
            container["securityContext"],
            json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
            })
        );
        assert!(container["resources"]["limits"]["memory"].is_string());
        for mount in container["volumeMounts"].as_array().unwrap() {
            let mut volumes = pod["volumes"].as_array().unwrap().iter();
            assert!(volumes.any(|volume| volume["name"] == mount["name"]), "{mount}");
        }
    }
}

/// A misspelt variable would be a warning in a log that nobody reads.
#[test]
fn variables_are_those_of_the_program() {
    let known =
        |name: &str| variables::ALL.iter().any(|variable| variable.names().any(|known| known == name));
    let ours = |name: &str| ["MOVER_", "RESTIC_", "AWS_"].iter().any(|begin| name.starts_with(begin));
    let mut seen = 0;
    let mut texts: Vec<(String, String)> = Vec::new();
    for end in [".yaml", ".sh"] {
        for file in files(end) {
            let name = file.strip_prefix(deploy()).unwrap().to_str().unwrap().to_owned();
            texts.push((name.clone(), text(&name)));
        }
    }
    for (file, text) in texts {
        for word in text.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_')) {
            if ours(word) && !word.ends_with('_') {
                assert!(known(word), "{file}: volmover does not read {word}");
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn the_switch_is_one_value() {
    assert_eq!(
        document("helm/values.yaml"),
        json!({"restic": {"image": "registry.example.org/volmover:0.1.0"}}),
        "and nothing else"
    );
}

/// What the ResourceSet gives to each application is all that the example asks for.
#[test]
fn flux_inputs_fill_in_every_name() {
    let set = document("flux/inputs.yaml");
    let inputs = set["spec"]["inputs"].as_array().unwrap();
    let resource = &set["spec"]["resources"][0];
    walk(resource, "", &mut |path, value| {
        for part in value.as_str().unwrap_or_default().split("<< ").skip(1) {
            let name = part.split(" >>").next().unwrap().split(' ').next().unwrap();
            let name = name.strip_prefix("inputs.").unwrap_or_else(|| panic!("{path}: {name}"));
            assert!(
                inputs.iter().all(|input| input[name].is_string()),
                "{path}: {name} is not in every input"
            );
        }
    });
    let path = at(resource, "/spec/path").strip_prefix("./deploy/").unwrap();
    let example = document(&format!("{path}/kustomization.yaml"));
    let given = resource["spec"]["postBuild"]["substitute"].as_object().unwrap();
    for component in example["components"].as_array().unwrap() {
        let folder = deploy().join(path).join(component.as_str().unwrap());
        for entry in std::fs::read_dir(folder).unwrap() {
            let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
            let text: String =
                text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
            for name in without_default(&text) {
                assert!(given.contains_key(&name), "{component}: {name} is not given");
            }
        }
    }
    let single = document("flux/kustomization-ks.yaml");
    assert_eq!(single["spec"]["components"], json!(["../../deploy/kustomize/r2"]));
}

/// What each of Flux's examples gives is all that the folder asks for that it leads to.
#[test]
fn flux_examples_lead_to_what_can_be_rendered() {
    let mut led = Vec::new();
    for file in ["flux/minio.yaml", "flux/cephfs.yaml", "flux/monitoring.yaml"] {
        for object in documents(&text(file)) {
            schema::check(&object);
            let path = at(&object, "/spec/path").strip_prefix("./deploy/").unwrap();
            assert!(deploy().join(path).join("kustomization.yaml").exists(), "{file}: {path}");
            let Some(example) = path.strip_prefix("kustomize/example/") else { continue };
            let given = object["spec"]["postBuild"]["substitute"].as_object().unwrap();
            let names: Vec<(&str, &str)> =
                given.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
            let Some(rendered) = Rendered::of(example, &names) else { return };
            assert!(!rendered.names().is_empty(), "{file}");
            led.push(example.to_owned());
        }
    }
    assert_eq!(led, ["minio", "namespace-cephfs", "maintenance-cephfs", "cephfs"]);
    let root = document("flux/Taskfile.yaml");
    assert!(deploy().join("flux").join(at(&root, "/includes/volsync/taskfile")).exists());
}

#[test]
fn the_workflow_asks_for_little_and_keeps_the_report() {
    let workflow = document("ci/github-workflow.yaml");
    assert_eq!(workflow["permissions"], json!({"contents": "read"}));
    assert!(workflow["on"]["schedule"][0]["cron"].is_string() && workflow["concurrency"].is_string());
    let job = &workflow["jobs"]["backup-and-verify"];
    assert!(job["timeout-minutes"].is_u64());
    let steps = job["steps"].as_array().unwrap();
    let last = steps.last().unwrap();
    assert!(at(last, "/uses").starts_with("actions/upload-artifact@v") && last["if"] == "always()", "{last}");
    let run = steps.iter().find(|step| step["name"] == "Back up and verify").unwrap();
    assert!(
        at(run, "/run").ends_with("deploy/ci/backup-and-verify.sh")
            && deploy().join("ci/backup-and-verify.sh").exists()
    );
    for (name, value) in run["env"].as_object().unwrap() {
        let secret = ["PASSWORD", "KEY", "REPOSITORY"].iter().any(|word| name.contains(word));
        assert_eq!(value.as_str().unwrap().contains("secrets."), secret, "{name}");
    }
    assert_eq!(at(run, "/env/REPORTS"), "${{ github.workspace }}/reports");
    assert_eq!(at(last, "/with/path"), "reports/");
}
