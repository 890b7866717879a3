//! Dashboards: Grafana takes them up, and each of their queries answers on what real runs told.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::recorded;
use crate::servers::Server;
use crate::stub::{Stub, answer};
use crate::support::children::wait_until;
use crate::yaml::text;

const FILES: [&str; 2] = ["grafana/fleet.json", "grafana/object.json"];

fn board(file: &str) -> Value {
    serde_json::from_str(&text(file)).unwrap_or_else(|cause| panic!("{file}: {cause}"))
}

fn panels(board: &Value) -> &[Value] {
    board["panels"].as_array().unwrap()
}

fn targets(panel: &Value) -> impl Iterator<Item = &Value> {
    panel["targets"].as_array().into_iter().flatten()
}

/// What Grafana's import asks for; a data source is chosen there, never named here.
#[test]
fn they_can_be_imported() {
    let mut uids = BTreeSet::new();
    for file in FILES {
        let board = board(file);
        for field in ["uid", "title"] {
            assert!(board[field].as_str().is_some_and(|text| !text.is_empty()), "{file}: {field}");
        }
        assert!(uids.insert(board["uid"].to_string()), "{file} has the uid of another");
        assert!(board["schemaVersion"].as_u64().is_some_and(|version| version >= 36), "{file}");
        assert!(
            board["id"].is_null() && board["tags"].is_array() && board["time"]["from"].is_string(),
            "{file}"
        );
        let variables = board["templating"]["list"].as_array().unwrap();
        assert_eq!(
            (&variables[0]["name"], &variables[0]["type"]),
            (&json!("datasource"), &json!("datasource"))
        );
        let source = json!({"type": "prometheus", "uid": "${datasource}"});
        for variable in &variables[1..] {
            assert_eq!(variable["datasource"], source, "{file}: {variable}");
        }
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in panels(&board) {
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{file}: an id is there twice: {panel}");
            assert!(panel["title"].as_str().is_some_and(|title| !title.is_empty()), "{file}: {panel}");
            let place = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24 && place("h") > 0, "{file}: {panel}");
            for (x, y) in (0..place("w")).flat_map(|x| (0..place("h")).map(move |y| (x, y))) {
                assert!(
                    taken.insert((place("x") + x, place("y") + y)),
                    "{file}: {} overlaps",
                    panel["title"]
                );
            }
            if panel["type"] == "row" {
                continue;
            }
            let kinds = ["bargauge", "stat", "table", "timeseries"];
            assert!(kinds.contains(&panel["type"].as_str().unwrap()), "{file}: {}", panel["type"]);
            assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{file}: {}", panel["title"]);
            assert_eq!(panel["datasource"], source, "{file}: {}", panel["title"]);
            let mut names = BTreeSet::new();
            for target in targets(panel) {
                assert!(names.insert(target["refId"].as_str().unwrap()), "{file}: {panel}");
                assert_eq!(target["datasource"], source, "{file}: {}", panel["title"]);
            }
            assert!(!names.is_empty(), "{file}: {} asks for nothing", panel["title"]);
        }
    }
}

#[test]
fn every_query_answers() {
    let exposition = recorded::exposition();
    let served = Stub::start(|_| answer("200 OK", exposition));
    let port = served.url().rsplit_once(':').unwrap().1.parse().unwrap();
    let Some(prometheus) = Server::prometheus(&[("volmover", port)]) else { return };
    wait_until("the first scrape", || !prometheus.series("mover_last_run_timestamp_seconds").is_empty());
    let mut asked = 0;
    let mut silent = Vec::new();
    // A volume for one board, and for the other what looks after all of them.
    for (file, namespace, name) in [(FILES[0], ".*", ""), (FILES[1], "business", "odoo")] {
        for panel in panels(&board(file)) {
            for target in targets(panel) {
                let query = target["expr"].as_str().unwrap();
                let query = query.replace("$namespace", namespace).replace("$name", name);
                assert!(!query.contains('$'), "{file}: {query}");
                asked += 1;
                if prometheus.series(&query).is_empty() {
                    silent.push(format!("{file}: {}: {query}", panel["title"]));
                }
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
    assert!(asked > 45, "{asked}");
}
