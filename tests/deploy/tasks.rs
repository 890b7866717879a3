//! The Taskfile, run by the real `task` on a model of a cluster: what it asks of the cluster, and what it says.

use std::fs;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::schema;
use crate::support::children::Running;
use crate::support::peer;
use crate::yaml::{deploy, document};

/// What came of a task.
struct Ran {
    ok: bool,
    out: String,
    err: String,
}

/// Runs a task as an operator does: from a Taskfile of theirs that includes ours.
fn task(cluster: &Cluster, words: &str) -> Option<Ran> {
    task_with(cluster, words, &[])
}

fn task_with(cluster: &Cluster, words: &str, environment: &[(&str, &str)]) -> Option<Ran> {
    let program = peer("task")?;
    let own = format!(
        "version: '3'\nincludes:\n  volsync: {{taskfile: {}, dir: .}}\n",
        deploy().join("Taskfile.yaml").display()
    );
    fs::write(cluster.folder().join("Taskfile.yaml"), own).unwrap();
    let mut command = cluster.command(program);
    let output = command.args(words.split(' ')).envs(environment.iter().copied()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let ran = Ran { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) };
    for text in [&ran.out, &ran.err] {
        assert!(!text.contains("Gehe1m") && !text.contains(&STANDARD.encode("Gehe1m")), "a secret: {text}");
    }
    Some(ran)
}

#[track_caller]
fn ok(ran: Ran) -> String {
    assert!(ran.ok, "{}\n{}", ran.out, ran.err);
    ran.out
}

#[track_caller]
fn failed(ran: Ran, says: &str) -> String {
    assert!(!ran.ok && ran.err.contains(says), "expected {says}\n{}\n{}", ran.out, ran.err);
    ran.err
}

fn source(namespace: &str, name: &str, restic: &Value) -> Value {
    let mut object = json!({
        "apiVersion": "volsync.backube/v1alpha1", "kind": "ReplicationSource",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {
            "sourcePVC": "odoo-data", "trigger": {"schedule": "0 */8 * * *"},
            "restic": {"repository": "odoo-secret", "copyMethod": "Snapshot"},
        },
        "status": {"lastSyncTime": "2026-01-14T08:00:00Z", "nextSyncTime": "2026-01-14T16:00:00Z"},
    });
    for (name, value) in restic.as_object().unwrap() {
        object["spec"]["restic"][name] = value.clone();
    }
    object
}

/// An application with a config directory and an NFS repository, and two others.
fn cluster() -> Cluster {
    let restic = json!({
        "cacheCapacity": "2Gi", "cacheStorageClassName": "openebs-hostpath", "cacheAccessModes": ["ReadWriteOnce"],
        "customCA": {"configMapName": "ca", "key": "ca.crt"},
        "moverSecurityContext": {"runAsUser": 1001, "runAsNonRoot": true},
        "moverVolumes": [
            {"mountPath": "mover-config", "volumeSource": {"secret": {"secretName": "odoo-config"}}},
            {"mountPath": "repository", "volumeSource": {"nfs": {"server": "nas", "path": "/backup"}}},
        ],
    });
    let config = json!({
        "kind": "Secret", "metadata": {"namespace": "business", "name": "odoo-config"},
        "data": {"MOVER_HOST": STANDARD.encode("Gehe1m")},
    });
    Cluster::new(vec![
        source("business", "odoo-backup", &restic),
        source("media", "emby-src", &json!({})),
        source("one", "twice", &json!({})),
        source("two", "twice", &json!({})),
        config,
    ])
}

#[test]
fn all_tasks_are_listed_with_their_parameters() {
    let cluster = cluster();
    let Some(ran) = task(&cluster, "--list") else { return };
    let list = ok(ran);
    for (name, parameters) in [
        ("snapshot", "APP, CLUSTER, NAMESPACE, WAIT"),
        ("restore", "APP, CLUSTER, NAMESPACE, SNAPSHOT, PREVIOUS, RESTORE_AS_OF"),
        ("unlock", "APP, CLUSTER, NAMESPACE"),
        ("list", "APP, CLUSTER, NAMESPACE"),
        ("status", "CLUSTER, NAMESPACE"),
        ("verify", "APP, CLUSTER, NAMESPACE, SNAPSHOT"),
    ] {
        let line = list.lines().find(|line| line.contains(&format!("volsync:{name}:"))).unwrap();
        assert!(line.contains(parameters), "{line}");
    }
    for name in
        document("Taskfile.yaml")["tasks"].as_object().unwrap().keys().filter(|name| *name != "status")
    {
        failed(task(&cluster, &format!("volsync:{name}")).unwrap(), "missing required variables: APP");
    }
}

#[test]
fn snapshot_waits_and_gives_the_schedule_back() {
    let cluster = cluster();
    let Some(ran) = task(&cluster, "volsync:snapshot APP=odoo") else { return };
    let said = ok(ran);
    assert!(said.contains("snapshot 1a2b3c4d saved\nbusiness/odoo-backup is backed up"), "{said}");
    let patches = cluster.calls("patch replicationsource odoo-backup -n business");
    assert!(patches[0].line.contains(r#"{"spec":{"trigger":{"manual":"snapshot-20"#), "{patches:?}");
    let object = cluster.object("ReplicationSource", "odoo-backup").unwrap();
    assert_eq!(object["spec"]["trigger"], json!({"schedule": "0 */8 * * *"}), "its schedule goes on");
    let said = ok(task(&cluster, "volsync:snapshot APP=emby NAMESPACE=media WAIT=false").unwrap());
    assert!(said.contains("backs up now"), "{said}");
    let object = cluster.object("ReplicationSource", "emby-src").unwrap();
    assert!(object["spec"]["trigger"]["manual"].is_string() && object["status"]["lastManualSync"].is_null());
}

#[test]
fn a_backup_that_fails_or_never_ends_is_told() {
    let cluster = cluster();
    cluster.state().operator.fails = true;
    let Some(ran) = task(&cluster, "volsync:snapshot APP=odoo") else { return };
    let said = failed(ran, "replicationsource business/odoo-backup failed");
    assert!(said.contains("Fatal: the store is on fire"), "{said}");
    let spec = || cluster.object("ReplicationSource", "odoo-backup").unwrap()["spec"]["trigger"].clone();
    assert!(spec()["manual"].is_null(), "the schedule is given back");
    // A failure of the time before is none of this one.
    cluster.state().operator.fails = false;
    ok(task(&cluster, "volsync:snapshot APP=odoo").unwrap());
    cluster.state().operator.stuck = true;
    let slow = task_with(&cluster, "volsync:snapshot APP=odoo TIMEOUT=1", &[("PAUSE", "1")]).unwrap();
    failed(slow, "business/odoo-backup did not finish in 1 s");
    assert!(spec()["manual"].is_null());
}

#[test]
fn an_interrupted_wait_cleans_up() {
    let cluster = cluster();
    cluster.state().operator.stuck = true;
    let mut command = cluster.command("sh");
    command.arg(deploy().join("volsync.sh")).args(["restore", "APP=odoo", "SNAPSHOT=1a2b3c4d", "PAUSE=1"]);
    let mut running = Running::start(command.stdout(std::process::Stdio::null()));
    let start = Instant::now();
    while cluster.applied("ReplicationDestination").is_empty() {
        assert!(start.elapsed() < Duration::from_mins(2), "{:?}", cluster.state().calls);
        std::thread::sleep(Duration::from_millis(20));
    }
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(running.wait().unwrap().code(), Some(143));
    let state = cluster.state();
    let names: Vec<&Value> = state.objects.iter().map(|object| &object["metadata"]["name"]).collect();
    assert!(!names.iter().any(|name| name.as_str().unwrap().contains("restore")), "{names:?}");
}

#[test]
fn restore_of_the_latest_takes_over_what_the_source_has() {
    let cluster = cluster();
    cluster.state().operator.restore_says = "restoring <snapshot> to .".to_owned();
    let Some(ran) = task(&cluster, "volsync:restore APP=odoo") else { return };
    assert!(ok(ran).contains("business/odoo-data is restored"));
    let object = &cluster.applied("ReplicationDestination")[0];
    schema::check(object);
    let (spec, restic) = (&object["spec"], &object["spec"]["restic"]);
    assert_eq!(spec["trigger"]["manual"], object["metadata"]["name"]);
    assert_eq!((&restic["destinationPVC"], &restic["copyMethod"]), (&json!("odoo-data"), &json!("Direct")));
    let source = cluster.object("ReplicationSource", "odoo-backup").unwrap();
    for same in [
        "repository",
        "moverVolumes",
        "moverSecurityContext",
        "customCA",
        "cacheCapacity",
        "cacheStorageClassName",
        "cacheAccessModes",
    ] {
        assert_eq!(restic[same], source["spec"]["restic"][same], "{same}");
        assert!(!restic[same].is_null(), "{same}");
    }
    for absent in ["previous", "restoreAsOf", "enableFileDeletion"] {
        assert!(restic[absent].is_null(), "{absent}");
    }
    assert_eq!(cluster.calls("delete replicationdestination odoo-restore-").len(), 1, "it is cleaned up");
    assert!(cluster.applied("Secret").is_empty());
}

#[test]
fn restore_of_another_snapshot() {
    let cluster = cluster();
    for (words, field, value) in [
        ("SNAPSHOT=2", "previous", json!(2)),
        ("PREVIOUS=3", "previous", json!(3)),
        ("PREVIOUS=0 RESTORE_AS_OF=2026-01-14T12:00:00Z", "restoreAsOf", json!("2026-01-14T12:00:00Z")),
        ("DELETE=true", "enableFileDeletion", json!(true)),
        ("DESTINATION_PVC=other", "destinationPVC", json!("other")),
        ("WAIT=false", "previous", Value::Null),
    ] {
        let Some(ran) = task(&cluster, &format!("volsync:restore APP=odoo {words}")) else { return };
        ok(ran);
        let applied = cluster.applied("ReplicationDestination");
        let object = applied.last().unwrap();
        schema::check(object);
        assert_eq!(object["spec"]["restic"][field], value, "{words}");
        let stays = cluster.object("ReplicationDestination", object["metadata"]["name"].as_str().unwrap());
        assert_eq!(stays.is_some(), words == "WAIT=false", "{words}");
    }
    for (words, says) in [
        ("SNAPSHOT=latest", "SNAPSHOT=latest is neither a number nor an id"),
        ("PREVIOUS=-1", "PREVIOUS=-1 is not a number"),
        ("RESTORE_AS_OF=yesterday", "RESTORE_AS_OF is a time such as"),
        ("TIMEOUT=soon", "TIMEOUT=soon is not a whole number"),
        ("NAMESPACE=a;b", "NAMESPACE=a;b is not a name"),
    ] {
        failed(task(&cluster, &format!("volsync:restore APP=odoo {words}")).unwrap(), says);
    }
}

/// The id reaches the mover by its config directory, beside what stood there.
#[test]
fn restore_of_a_snapshot_by_its_id() {
    let cluster = cluster();
    let Some(ran) = task(&cluster, "volsync:restore APP=odoo SNAPSHOT=1a2b3c4d") else { return };
    ok(ran);
    let (secret, object) = (&cluster.applied("Secret")[0], &cluster.applied("ReplicationDestination")[0]);
    schema::check(object);
    assert_eq!(
        secret["data"],
        json!({"MOVER_SNAPSHOT": STANDARD.encode("1a2b3c4d"), "MOVER_HOST": STANDARD.encode("Gehe1m")})
    );
    let volumes = &object["spec"]["restic"]["moverVolumes"];
    assert_eq!(volumes[0]["volumeSource"]["secret"]["secretName"], secret["metadata"]["name"]);
    assert_eq!(volumes[1]["volumeSource"]["nfs"]["server"], "nas");
    let name = secret["metadata"]["name"].as_str().unwrap();
    assert!(cluster.object("Secret", name).is_none(), "it is cleaned up");
    assert!(cluster.object("Secret", "odoo-config").is_some());
    // Where there was no config directory, there is one for this restore. All digits are an id too, when they are many.
    ok(task(&cluster, "volsync:restore APP=emby SNAPSHOT=12345678").unwrap());
    let object = &cluster.applied("ReplicationDestination")[1];
    schema::check(object);
    assert_eq!(object["spec"]["restic"]["moverVolumes"].as_array().unwrap().len(), 1);
    assert_eq!(cluster.applied("Secret")[1]["data"], json!({"MOVER_SNAPSHOT": STANDARD.encode("12345678")}));
}

#[test]
fn restore_fails_when_nothing_came_of_it() {
    let cluster = cluster();
    cluster.state().operator.restore_says = "No eligible snapshots found".to_owned();
    let Some(ran) = task(&cluster, "volsync:restore APP=odoo") else { return };
    failed(ran, "nothing was restored into business/odoo-data");
    cluster.state().operator.fails = true;
    let said = failed(task(&cluster, "volsync:restore APP=odoo").unwrap(), "Fatal: the store is on fire");
    assert!(said.contains("failed; VolSync tries again"), "{said}");
    assert_eq!(cluster.calls("delete replicationdestination").len(), 2, "it is cleaned up all the same");
    cluster.state().operator =
        crate::cluster::Operator { refused: Some("apply".to_owned()), ..Default::default() };
    failed(task(&cluster, "volsync:restore APP=odoo").unwrap(), "Forbidden");
}

#[test]
fn a_volume_in_use_is_not_restored_into() {
    let cluster = cluster();
    let pod = |name: &str, phase: &str| {
        json!({
            "kind": "Pod", "metadata": {"namespace": "business", "name": name},
            "spec": {"volumes": [{"name": "x"}, {"persistentVolumeClaim": {"claimName": "odoo-data"}}]},
            "status": {"phase": phase},
        })
    };
    cluster.state().objects.extend([pod("volsync-src-odoo", "Running"), pod("done", "Succeeded")]);
    let Some(ran) = task(&cluster, "volsync:restore APP=odoo") else { return };
    ok(ran);
    cluster.state().objects.push(pod("odoo-0", "Running"));
    failed(task(&cluster, "volsync:restore APP=odoo").unwrap(), "business/odoo-data is in use by odoo-0");
    assert_eq!(cluster.applied("ReplicationDestination").len(), 1);
    ok(task(&cluster, "volsync:restore APP=odoo FORCE=true").unwrap());
}

#[test]
fn unlock_waits_for_last_unlocked() {
    let cluster = cluster();
    let Some(ran) = task(&cluster, "volsync:unlock APP=odoo") else { return };
    assert!(ok(ran).contains("business/odoo-backup is unlocked"));
    let object = cluster.object("ReplicationSource", "odoo-backup").unwrap();
    let unlock = object["spec"]["restic"]["unlock"].as_str().unwrap();
    assert!(unlock.starts_with("unlock-20") && object["status"]["restic"]["lastUnlocked"] == unlock);
    assert_eq!(object["spec"]["trigger"], json!({"schedule": "0 */8 * * *"}));
    schema::check(&object);
}

/// A pod that sees what the mover sees, restricted, and gone afterwards.
#[test]
fn list_and_verify_run_volmover_in_a_pod() {
    let cluster = cluster();
    cluster.state().operator.pod_says = "1a2b3c4d  2026-01-14 08:00:00\n".to_owned();
    let Some(ran) = task(&cluster, "volsync:list APP=odoo IMAGE=registry/volmover:1") else { return };
    assert_eq!(ok(ran), "1a2b3c4d  2026-01-14 08:00:00\n");
    let pod = &cluster.applied("Pod")[0];
    let (spec, container) = (&pod["spec"], &pod["spec"]["containers"][0]);
    assert_eq!(
        (&container["args"], &container["image"]),
        (&json!(["snapshots"]), &json!("registry/volmover:1"))
    );
    assert_eq!(container["envFrom"], json!([{"secretRef": {"name": "odoo-secret"}}]));
    assert_eq!(container["env"], json!([{"name": "CUSTOM_CA", "value": "/customCA/ca.crt"}]));
    assert_eq!(spec["securityContext"]["runAsUser"], 1001);
    let context = &container["securityContext"];
    assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!((&context["readOnlyRootFilesystem"], &spec["restartPolicy"]), (&json!(true), &json!("Never")));
    let mounts = container["volumeMounts"].as_array().unwrap();
    let paths: Vec<&str> = mounts.iter().map(|mount| mount["mountPath"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/tmp", "/mnt/mover-config", "/mnt/repository", "/customCA"]);
    for mount in mounts {
        let volumes = spec["volumes"].as_array().unwrap();
        assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{mount}");
    }
    assert_eq!(spec["volumes"][2]["nfs"], json!({"server": "nas", "path": "/backup"}));
    assert_eq!(cluster.calls("delete pod volmover-snapshots-odoo-").len(), 1);

    ok(task(&cluster, "volsync:verify APP=emby SNAPSHOT=1 MAX_AGE=26h").unwrap());
    let pod = &cluster.applied("Pod")[1];
    let context = &pod["spec"]["securityContext"];
    assert_eq!(context, &json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}}));
    let env = pod["spec"]["containers"][0]["env"].as_array().unwrap();
    let value = |name: &str| env.iter().find(|variable| variable["name"] == name).unwrap()["value"].clone();
    assert_eq!(value("MOVER_SNAPSHOT"), "latest~1");
    assert_eq!((value("MOVER_VERIFY_MAX_AGE"), value("MOVER_VERIFY_MIN_FILES")), (json!("26h"), json!("1")));
    cluster.state().operator.pod_fails = true;
    cluster.state().operator.pod_says = "Fatal: a condition of verify is broken\n".to_owned();
    let ran = task(&cluster, "volsync:verify APP=odoo").unwrap();
    assert!(ran.out.contains("Fatal: a condition"), "{}", ran.out);
    failed(ran, "verify of business/odoo-backup failed");
    assert!(cluster.state().objects.iter().all(|object| object["kind"] != "Pod"), "pods are gone");
}

#[test]
fn status_shows_the_next_sync_and_errors() {
    let cluster = cluster();
    {
        let mut state = cluster.state();
        let broken =
            state.objects.iter_mut().find(|object| object["metadata"]["name"] == "emby-src").unwrap();
        broken["status"] =
            json!({"latestMoverStatus": {"result": "Failed", "logs": "Fatal: wrong password"}});
        let well =
            state.objects.iter_mut().find(|object| object["metadata"]["name"] == "odoo-backup").unwrap();
        let logs = "processed 2 files, 3 B in 0:00\nsnapshot 1a2b3c4d saved\nRestic completed in 1s";
        well["status"]["latestMoverStatus"] = json!({"result": "Successful", "logs": logs});
    }
    let Some(ran) = task(&cluster, "volsync:status") else { return };
    let said = ok(ran);
    let line = |name: &str| said.lines().find(|line| line.contains(name)).unwrap();
    assert!(
        line("business/odoo-backup").contains("last 2026-01-14T08:00:00Z next 2026-01-14T16:00:00Z"),
        "{said}"
    );
    assert!(line("business/odoo-backup").ends_with("snapshot 1a2b3c4d"), "{said}");
    assert_eq!(said.matches("snapshot ").count(), 1, "the others have none: {said}");
    assert!(
        line("media/emby-src").starts_with("!! ") && line("media/emby-src").contains("last never"),
        "{said}"
    );
    assert!(said.contains("!! media/emby-src says:\n   Fatal: wrong password"), "{said}");
    let said = ok(task(&cluster, "volsync:status NAMESPACE=business").unwrap());
    assert!(said.contains("odoo-backup") && !said.contains("emby"), "{said}");
    assert!(cluster.calls("get replicationdestination -n business").len() == 1);
    cluster.state().operator.refused = Some("get".to_owned());
    failed(task(&cluster, "volsync:status").unwrap(), "Forbidden");
}

#[test]
fn an_application_is_found_or_what_there_is_is_told() {
    let cluster = cluster();
    let Some(ran) = task(&cluster, "volsync:unlock APP=odo") else { return };
    let said = failed(ran, "no ReplicationSource odo-backup, odo-src or odo; available are");
    assert!(said.contains("  business/odoo-backup\n  media/emby-src\n"), "{said}");
    let said = failed(task(&cluster, "volsync:list APP=odoo NAMESPACE=media").unwrap(), "in namespace media");
    assert!(said.contains("  media/emby-src\n") && !said.contains("business"), "{said}");
    failed(task(&cluster, "volsync:list APP=x NAMESPACE=nowhere").unwrap(), "available are\n  none");
    failed(task(&cluster, "volsync:list APP=twice").unwrap(), "twice is in several namespaces: one two");
    ok(task(&cluster, "volsync:unlock APP=twice NAMESPACE=two").unwrap());
    // What is given to task counts, not what the shell has of the same name.
    let ran = task_with(&cluster, "volsync:unlock APP=odoo", &[("APP", "emby"), ("SNAPSHOT", "")]);
    assert!(ok(ran.unwrap()).contains("business/odoo-backup is unlocked"));
    for line in cluster.state().calls.iter().filter(|call| call.line.starts_with("patch")) {
        assert!(!line.line.contains("emby"), "{line:?}");
    }
}

#[test]
fn a_cluster_is_a_kubeconfig_or_a_context() {
    let cluster = cluster();
    let Some(ran) = task(&cluster, "volsync:status CLUSTER=apps") else { return };
    ok(ran);
    let by_context = cluster.calls("--context apps get ");
    assert!(!by_context.is_empty() && cluster.calls("get").is_empty());
    let file = cluster.folder().join("kubeconfig-apps");
    fs::write(&file, "").unwrap();
    ok(task(&cluster, "volsync:status CLUSTER=apps").unwrap());
    let by_file = cluster.calls("get ");
    assert!(!by_file.is_empty() && by_file.iter().all(|call| call.kubeconfig == file.to_str().unwrap()));
}
