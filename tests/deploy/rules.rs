//! Alerts: one source, rules that promtool takes, and for each a case in which it fires and one in which it stays
//! silent.
//!
//! A case may only use series that exist: volmover's own as a real run writes them, or those of the lists of other
//! exporters in `alerts/known-metrics.txt`. An alert on what nobody exports never fires, and nobody notices.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use volmover::config::operation::Operation;

use crate::recorded;
use crate::runbook::anchor;
use crate::support::peer;
use crate::support::scratch;
use crate::yaml::{at, deploy, document, documents, text};

/// The alerts of the three fleets: name, severity, `for`.
const OF_THE_FLEETS: [(&str, &str, &str); 19] = [
    ("VolSyncControllerDown", "critical", "5m"),
    ("VolSyncReplicationFailed", "high", "15m"),
    ("VolSyncBackupDurationHigh", "warning", "5m"),
    ("VolSyncSnapshotCreationFailed", "high", "5m"),
    ("VolSyncRestoreFailed", "high", "15m"),
    ("VolSyncMoverPodFailed", "high", "5m"),
    ("VolSyncS3ConnectivityIssue", "high", "5m"),
    ("VolSyncStaleBackup", "warning", "1h"),
    ("VolSyncCacheStorageIssue", "high", "5m"),
    ("VolSyncComponentAbsent", "critical", "15m"),
    ("VolSyncVolumeOutOfSync", "critical", "15m"),
    ("KopiaMaintenanceFailure", "critical", "5m"),
    ("KopiaMaintenanceMissing", "warning", "1h"),
    ("KopiaMaintenanceTimeout", "warning", "15m"),
    ("VolsyncRestoreStuck", "warning", "5m"),
    ("VolsyncBackupFailed", "warning", "5m"),
    ("VolsyncBackupStale", "warning", "5m"),
    ("KopiaServerDown", "critical", "5m"),
    ("VolsyncMoverJobFailed", "warning", "5m"),
];

/// Where the links of alerts lead, unless somebody says otherwise.
const RUNBOOK: &str = "https://git.example.org/volmover/deploy/RUNBOOK.md";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/deploy/alerts")
}

/// The files of cases, with their tests.
fn cases() -> BTreeMap<String, Vec<Value>> {
    let files = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|file| file.extension().is_some_and(|end| end == "yaml"))
        .map(|file| {
            let cases = documents(&std::fs::read_to_string(&file).unwrap()).remove(0)["tests"].take();
            let Value::Array(cases) = cases else { panic!("{} has no tests", file.display()) };
            (file.file_name().unwrap().to_str().unwrap().to_owned(), cases)
        })
        .collect()
}

/// Every alert with its name.
fn alerts() -> BTreeMap<String, Value> {
    let rule = document("prometheus/prometheusrule.yaml");
    let groups = rule["spec"]["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
    let alerts = rules.filter(|rule| rule["alert"].is_string());
    alerts.map(|alert| (at(alert, "/alert").to_owned(), alert.clone())).collect()
}

/// The names of metrics in an expression; what rules record has a colon.
fn metrics_of(expression: &str) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(|c: char| !is_word(c));
    let ours = ["mover_", "kube_", "volsync_", "snapshot_controller_"];
    words
        .filter(|word| *word == "up" || ours.iter().any(|begin| word.starts_with(begin)))
        .map(str::to_owned)
        .collect()
}

/// `name{label="value",…}`
fn series(text: &str) -> (&str, Vec<&str>) {
    let (name, labels) = text.split_once('{').unwrap_or((text, ""));
    let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once('='));
    (name, labels.map(|(name, _)| name).collect())
}

/// What may be asked for, with its labels: of other exporters, and of volmover itself.
fn known() -> BTreeMap<String, BTreeSet<String>> {
    let listed = std::fs::read_to_string(folder().join("known-metrics.txt")).unwrap();
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in listed.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let mut words = line.split(' ').map(str::to_owned);
        known.insert(words.next().unwrap(), words.collect());
    }
    for line in recorded::exposition().lines().filter(|line| !line.starts_with('#')) {
        let (name, labels) = series(line.rsplit_once(' ').unwrap().0);
        known.entry(name.to_owned()).or_default().extend(labels.into_iter().map(str::to_owned));
    }
    known
}

/// `rules.yaml` is the `spec` of the PrometheusRule; `UPDATE_RULES=1` writes it.
#[test]
fn rules_are_of_one_source() {
    let (_, spec) = text("prometheus/prometheusrule.yaml")
        .split_once("\nspec:\n")
        .map(|(head, spec)| (head.to_owned(), spec.to_owned()))
        .unwrap();
    let plain: String =
        spec.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect();
    let head = "---\n# Made from prometheusrule.yaml: UPDATE_RULES=1 cargo test --test deploy rules\n";
    let wanted = format!("{head}{plain}");
    if std::env::var_os("UPDATE_RULES").is_some() {
        std::fs::write(deploy().join("prometheus/rules.yaml"), &wanted).unwrap();
    }
    assert_eq!(text("prometheus/rules.yaml"), wanted, "UPDATE_RULES=1 cargo test --test deploy rules");
}

#[test]
fn promtool_finds_every_case_as_it_says() {
    let Some(promtool) = peer("promtool") else { return };
    let mut files: Vec<PathBuf> = cases().keys().map(|file| folder().join(file)).collect();
    assert!(files.len() >= 4, "{files:?}");
    // The work of the files is the same; side by side it takes half the time.
    let run = |file: PathBuf| {
        let mut command = Command::new(&promtool);
        command.args(["test", "rules"]).arg(file);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    std::thread::scope(|scope| {
        files.drain(..).for_each(|file| drop(scope.spawn(|| run(file))));
    });
    for arguments in [["check", "rules", "rules.yaml"], ["check", "config", "scrape.yaml"]] {
        let more: &[&str] = if arguments[1] == "config" { &["--syntax-only"] } else { &["--lint=all"] };
        let mut command = Command::new(&promtool);
        command.args(&arguments[..2]).args(more).arg(arguments[2]).current_dir(deploy().join("prometheus"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// In the case that fires, alerts come up, with what their texts ask for; in the other none does.
#[test]
fn each_alert_has_a_case_that_fires_and_one_that_is_silent() {
    let (cases, alerts) = (cases(), alerts());
    assert_eq!(alerts.len(), 29);
    let of = |name: &str| cases.values().flatten().find(|case| case["name"] == name);
    for (name, alert) in &alerts {
        let samples = |case: &Value, place: usize| {
            case["promql_expr_test"][place]["exp_samples"].as_array().unwrap().clone()
        };
        let fires = of(&format!("{name} fires")).unwrap_or_else(|| panic!("{name} never fires"));
        let silent = of(&format!("{name} is silent")).unwrap_or_else(|| panic!("{name} is never silent"));
        assert!(samples(fires, 0).is_empty() && samples(silent, 0).is_empty(), "{name}");
        let came = samples(fires, 1);
        assert!(!came.is_empty(), "{name}");
        for case in [fires, silent] {
            assert!(!case["input_series"].as_array().unwrap().is_empty(), "{name} is silent about nothing");
            for test in case["promql_expr_test"].as_array().unwrap() {
                let wanted = format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}}");
                assert_eq!(test["expr"], wanted.as_str(), "{name}");
            }
        }
        let texts = alert["annotations"].as_object().unwrap().values();
        let texts: String = texts.map(|text| text.as_str().unwrap()).collect();
        let labels = came.iter().flat_map(|sample| series(at(sample, "/labels")).1.into_iter());
        let labels: BTreeSet<&str> = labels.collect();
        for part in texts.split("$labels.").skip(1) {
            let asked = part.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next().unwrap();
            assert!(labels.contains(asked), "{name} tells of {asked}, which it does not have: {labels:?}");
        }
    }
    let tests: usize = cases.values().map(Vec::len).sum();
    assert_eq!(tests, 2 * alerts.len(), "a case of an alert that does not exist");
}

#[test]
fn alerts_and_cases_ask_for_what_exists() {
    let known = known();
    for (name, alert) in alerts() {
        let asked = metrics_of(at(&alert, "/expr"));
        let jobs = at(&alert, "/expr").contains("volsync:job_");
        assert!(!asked.is_empty() || jobs, "{name}");
        for metric in asked.iter().filter(|metric| !metric.contains(':')) {
            assert!(known.contains_key(metric), "{name}: nobody exports {metric}");
        }
    }
    for case in cases().values().flatten() {
        for input in case["input_series"].as_array().unwrap() {
            let (name, labels) = series(at(input, "/series"));
            let has = known.get(name).unwrap_or_else(|| panic!("{}: nobody exports {name}", case["name"]));
            for label in labels {
                assert!(has.contains(label), "{}: {name} has no {label}, but {has:?}", case["name"]);
            }
        }
    }
}

#[test]
fn the_fleets_find_their_alerts() {
    let alerts = alerts();
    for (name, severity, wait) in OF_THE_FLEETS {
        let alert = &alerts[name];
        let told = (&alert["labels"]["severity"], &alert["for"]);
        assert_eq!(told, (&json!(severity), &json!(wait)), "{name}");
    }
    let table = text("prometheus/README.md");
    let rows: Vec<&str> = table.lines().filter(|line| line.ends_with(".yaml` |")).collect();
    assert_eq!(rows.len(), OF_THE_FLEETS.len());
    let cases = cases();
    for (row, (name, ..)) in rows.iter().zip(OF_THE_FLEETS) {
        let cells: Vec<&str> = row.replace("\\|", "").leak().trim_matches('|').split(" | ").collect();
        assert_eq!((cells.len(), cells[0].trim()), (5, format!("`{name}`").as_str()));
        let file = cells[4].trim_matches([' ', '`']);
        let named = |end: &str| cases[file].iter().any(|case| case["name"] == format!("{name} {end}"));
        assert!(named("fires") && named("is silent"), "{name} has no cases in {file}");
    }
    for name in alerts.keys().filter(|name| name.starts_with("Volmover")) {
        assert!(table.contains(&format!("| `{name}` | ")), "{name} is not in the table");
    }
}

/// A job that is ended by its deadline cannot be found to take too long.
#[test]
fn maintenance_may_run_longer_than_its_alert_waits() {
    let job = text("kustomize/maintenance/forget-prune.yaml");
    let mut deadlines = job.lines().filter_map(|line| line.trim().strip_prefix("activeDeadlineSeconds: "));
    let deadline: u32 = deadlines.next().unwrap().parse().unwrap();
    assert!(deadline > 4 * 3600 + 15 * 60, "{deadline}");
}

/// Each says what to do, and leads to a section of the runbook; what it tells to run can be run.
#[test]
fn alerts_say_what_to_do() {
    let runbook = text("RUNBOOK.md");
    let anchors: BTreeSet<String> = runbook.lines().filter_map(anchor).collect();
    for (name, alert) in alerts() {
        let link = at(&alert, "/annotations/runbook_url");
        let section = link.strip_prefix(RUNBOOK).and_then(|section| section.strip_prefix('#'));
        assert!(section.is_some_and(|section| anchors.contains(section)), "{name}: no section {link}");
        assert!(!at(&alert, "/annotations/summary").is_empty());
        let description = at(&alert, "/annotations/description");
        let commands: Vec<&str> = description.split('`').skip(1).step_by(2).collect();
        assert!(!commands.is_empty(), "{name} says nothing to run");
        for command in commands {
            runnable(&name, command);
        }
    }
}

/// Who says in one annotation where the runbook is finds every link there, and nothing else is changed. The patch is
/// made as Flux makes it.
#[test]
fn one_annotation_moves_every_link() {
    let Some(kustomize) = peer("kustomize") else { return };
    let folder = scratch();
    let rule = text("prometheus/prometheusrule.yaml");
    let patch = "patches:\n  - patch: |\n      apiVersion: monitoring.coreos.com/v1\n      kind: PrometheusRule\n      \
                 metadata: {name: volmover, annotations: {runbook: 'https://wiki.example.com/backups'}}\n";
    let kustomization = format!("{}{patch}", text("prometheus/kustomization.yaml"));
    std::fs::write(folder.path().join("prometheusrule.yaml"), &rule).unwrap();
    std::fs::write(folder.path().join("kustomization.yaml"), kustomization).unwrap();
    let output = Command::new(kustomize).arg("build").arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let built = documents(&String::from_utf8(output.stdout).unwrap());
    assert!(rule.matches(RUNBOOK).count() > 20);
    assert_eq!(built, documents(&rule.replace(RUNBOOK, "https://wiki.example.com/backups")));
}

#[track_caller]
fn runnable(name: &str, command: &str) {
    let mut words = command.split_whitespace();
    let known = match (words.next(), words.next()) {
        (Some("kubectl"), Some(verb)) => {
            ["get", "logs", "describe", "create", "rollout"].contains(&verb)
                && (command.contains(" -n ") || command.contains(" -A") || command.ends_with("class"))
        }
        (Some("volmover"), Some(operation)) => Operation::parse(operation).is_ok() && words.next().is_none(),
        (Some("task"), Some(task)) => {
            let tasks = document("Taskfile.yaml")["tasks"].clone();
            let task = &tasks[task.strip_prefix("volsync:").unwrap_or_default()];
            let told = task["desc"].as_str().unwrap_or_default();
            words.all(|word| {
                let Some((parameter, _)) = word.split_once('=') else {
                    return ["$labels.obj_namespace", "$labels.obj_name", "}}"].contains(&word);
                };
                told.contains(parameter)
            })
        }
        _ => false,
    };
    assert!(known, "{name} tells to run {command}");
}
