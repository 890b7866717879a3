//! Each example renders, and holds what the system of its seed needs.

use serde_json::{Value, json};

use crate::rendered::{Rendered, built};
use crate::schema;
use crate::support::peer;
use crate::support::scratch;
use crate::yaml::at;

const R2: [(&str, &str); 3] = [
    ("APP", "odoo"),
    ("VOLSYNC_R2_ENDPOINT", "0123abcd.r2.cloudflarestorage.com"),
    ("VOLSYNC_R2_BUCKET", "volsync"),
];
const MINIO: [(&str, &str); 3] =
    [("APP", "demo"), ("VOLSYNC_MINIO_URL", "http://10.25.11.3:9000"), ("SOURCE_PVC", "demo-pvc")];
pub(crate) const NFS: [(&str, &str); 7] = [
    ("APP", "atuin"),
    ("VOLSYNC_NAMESPACE", "default"),
    ("VOLSYNC_NFS_SERVER", "nas.home"),
    ("VOLSYNC_NFS_PATH", "/mnt/ssdtank/backup"),
    ("VOLSYNC_UID", "1001"),
    ("VOLSYNC_GID", "1001"),
    ("VOLSYNC_CAPACITY", "5Gi"),
];
const CEPHFS: [(&str, &str); 5] = [
    ("APP", "emby"),
    ("VOLSYNC_NAMESPACE", "default"),
    ("VOLSYNC_CEPHFS_HANDLE", "volsync"),
    ("VOLSYNC_CEPHFS_NAME", "cephfs"),
    ("VOLSYNC_CEPHFS_ROOT", "/volumes/csi/volsync"),
];

const PUSHGATEWAY: &str = "http://prometheus-pushgateway.monitoring.svc:9091";

/// All objects are sound, and the two of VolSync name the Secret that there will be.
fn sound(rendered: &Rendered, source: &str, destination: &str, secret: &str) {
    let (source, destination) =
        (rendered.one("ReplicationSource", source), rendered.one("ReplicationDestination", destination));
    for object in [source, destination] {
        schema::check(object);
        assert_eq!(at(object, "/spec/restic/repository"), secret);
        assert_eq!(at(object, "/spec/restic/copyMethod"), "Snapshot");
        assert_eq!(at(object, "/spec/restic/cacheStorageClassName"), "openebs-hostpath");
        let context = &object["spec"]["restic"]["moverSecurityContext"];
        assert_eq!(
            (&context["runAsNonRoot"], &context["seccompProfile"]["type"]),
            (&json!(true), &json!("RuntimeDefault"))
        );
    }
    let same = |pointer: &str| assert_eq!(source.pointer(pointer), destination.pointer(pointer), "{pointer}");
    same("/spec/restic/moverVolumes");
    same("/spec/restic/moverSecurityContext");
    same("/spec/restic/customCA");
    assert_eq!(at(destination, "/spec/trigger/manual"), "restore-once");
    let mut targets = rendered.all("ExternalSecret").map(|object| at(object, "/spec/target/name"));
    assert!(targets.any(|target| target == secret), "{:?}", rendered.names());
}

fn url(rendered: &Rendered, secret: &str) -> String {
    at(rendered.one("ExternalSecret", secret), "/spec/target/template/data/RESTIC_REPOSITORY").to_owned()
}

#[test]
fn r2() {
    let Some(rendered) = Rendered::of("r2", &R2) else { return };
    sound(&rendered, "odoo-backup", "odoo-restore", "odoo-volsync-r2-secret");
    assert_eq!(
        url(&rendered, "odoo-volsync-r2-secret"),
        "s3:https://0123abcd.r2.cloudflarestorage.com/volsync/odoo"
    );
    let source = &rendered.one("ReplicationSource", "odoo-backup")["spec"];
    assert_eq!(
        (&source["sourcePVC"], &source["trigger"]["schedule"]),
        (&json!("odoo-data"), &json!("0 */8 * * *"))
    );
    let restic = &source["restic"];
    assert_eq!(restic["retain"], json!({"hourly": 24, "daily": 7}));
    assert_eq!((&restic["pruneIntervalDays"], &restic["cacheCapacity"]), (&json!(7), &json!("2Gi")));
    let config = rendered.one("Secret", "odoo-mover-config");
    assert_eq!(config["stringData"], json!({"MOVER_JITTER": "30s", "MOVER_PUSHGATEWAY": PUSHGATEWAY}));
    let volumes = json!([{"mountPath": "mover-config", "volumeSource": {"secret": {"secretName": "odoo-mover-config"}}}]);
    assert_eq!(restic["moverVolumes"], volumes);
    // Each key of the mover's Secret comes from a key of the store.
    let external = &rendered.one("ExternalSecret", "odoo-volsync-r2-secret")["spec"];
    for (key, template) in external["target"]["template"]["data"].as_object().unwrap() {
        let Some(name) =
            template.as_str().unwrap().strip_prefix("{{ .").and_then(|rest| rest.strip_suffix(" }}"))
        else {
            assert!(["RESTIC_REPOSITORY", "AWS_DEFAULT_REGION"].contains(&key.as_str()), "{key}");
            continue;
        };
        let mut mapped = external["data"].as_array().unwrap().iter();
        let found = mapped.find(|mapped| mapped["secretKey"] == name).unwrap();
        assert_eq!(
            (&found["remoteRef"]["key"], &found["remoteRef"]["property"]),
            (&json!("volsync-r2"), &json!(key))
        );
    }
}

#[test]
fn minio_with_a_private_authority() {
    let Some(rendered) = Rendered::of("minio", &MINIO) else { return };
    sound(&rendered, "demo-backup", "demo-restore", "demo-restic-secret");
    assert_eq!(url(&rendered, "demo-volsync-secret"), "s3:http://10.25.11.3:9000/volsync/demo");
    let source = &rendered.one("ReplicationSource", "demo-backup")["spec"];
    assert_eq!(
        (&source["sourcePVC"], &source["trigger"]["schedule"]),
        (&json!("demo-pvc"), &json!("0 2 * * *"))
    );
    let restic = &source["restic"];
    assert_eq!(restic["retain"], json!({"hourly": 24, "daily": 7, "weekly": 4, "monthly": 12}));
    assert_eq!((&restic["pruneIntervalDays"], &restic["unlock"]), (&json!(7), &Value::Null));
    assert_eq!(source["paused"], Value::Null);
    let destination = &rendered.one("ReplicationDestination", "demo-restore")["spec"]["restic"];
    // A restore of the snapshot before the latest finds none after the first backup.
    assert_eq!((&destination["previous"], &destination["capacity"]), (&Value::Null, &json!("5Gi")));
    let one_node = json!(["ReadWriteOnce"]);
    for restic in [restic, destination] {
        assert_eq!(restic["volumeSnapshotClassName"], "csi-ceph-block");
        assert_eq!(restic["storageClassName"], "rook-ceph-block");
        assert_eq!((&restic["cacheCapacity"], &restic["cacheAccessModes"]), (&json!("2Gi"), &one_node));
        assert_eq!(restic["customCA"], json!({"configMapName": "private-ca", "key": "ca.crt"}));
        let resources = json!({
            "requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1000m", "memory": "1Gi"},
        });
        assert_eq!(restic["moverResources"], resources);
        let context = &restic["moverSecurityContext"];
        for name in ["runAsUser", "runAsGroup", "fsGroup"] {
            assert_eq!(context[name], 65534, "{name}");
        }
    }
    assert_eq!(destination["accessModes"], one_node);
    assert_eq!(
        (&destination["cleanupCachePVC"], &destination["cleanupTempPVC"]),
        (&json!(true), &json!(true))
    );
    let external = &rendered.one("ExternalSecret", "demo-volsync-secret")["spec"];
    assert_eq!(external["dataFrom"], json!([{"extract": {"key": "volsync-minio"}}]));
    assert_eq!(external["refreshInterval"], "1h");
    assert_eq!(external["secretStoreRef"], json!({"kind": "ClusterSecretStore", "name": "onepassword"}));
    let keys = external["target"]["template"]["data"].as_object().unwrap();
    for (name, value) in keys.iter().filter(|(name, _)| *name != "RESTIC_REPOSITORY") {
        let same = format!("{{{{ .{name} }}}}");
        assert_eq!(value, if name == "AWS_DEFAULT_REGION" { "us-east-1" } else { &same });
    }
    assert_eq!(keys.len(), 5);
}

/// The names of the seed, with values of their own.
#[test]
fn minio_by_every_name() {
    let names = [
        ("VOLSYNC_BUCKET", "b"),
        ("VOLSYNC_SNAPSHOTCLASS", "s"),
        ("VOLSYNC_CACHE_SC", "c"),
        ("BACKUP_SCHEDULE", "5 4 * * *"),
        ("VOLSYNC_STORAGECLASS", "t"),
        ("VOLSYNC_CAPACITY", "10Gi"),
        ("VOLSYNC_SECRET_STORE", "v"),
        ("VOLSYNC_SECRET_KEY", "kubernetes/apps/volsync/volsync-minio"),
    ];
    let Some(rendered) = Rendered::of("minio", &[MINIO.as_slice(), &names].concat()) else { return };
    assert_eq!(url(&rendered, "demo-volsync-secret"), "s3:http://10.25.11.3:9000/b/demo");
    let source = &rendered.one("ReplicationSource", "demo-backup")["spec"];
    assert_eq!(
        (&source["sourcePVC"], &source["trigger"]["schedule"]),
        (&json!("demo-pvc"), &json!("5 4 * * *"))
    );
    let destination = &rendered.one("ReplicationDestination", "demo-restore")["spec"];
    for restic in [&source["restic"], &destination["restic"]] {
        assert_eq!(
            (&restic["volumeSnapshotClassName"], &restic["storageClassName"]),
            (&json!("s"), &json!("t"))
        );
        assert_eq!(restic["cacheStorageClassName"], "c");
    }
    assert_eq!(destination["restic"]["capacity"], "10Gi");
    let external = &rendered.one("ExternalSecret", "demo-volsync-secret")["spec"];
    assert_eq!(external["secretStoreRef"]["name"], "v");
    assert_eq!(external["dataFrom"][0]["extract"]["key"], "kubernetes/apps/volsync/volsync-minio");
}

/// The identity of a volume in a shared repository: one Secret for both directions.
fn shared(rendered: &Rendered, app: &str, repository: &Value) {
    sound(rendered, &format!("{app}-src"), &format!("{app}-dst"), &format!("{app}-volsync-secret"));
    assert_eq!(url(rendered, &format!("{app}-volsync-secret")), "/mnt/repository/restic");
    let source = &rendered.one("ReplicationSource", &format!("{app}-src"))["spec"];
    assert_eq!(source["sourcePVC"], format!("{app}-config"));
    let secret = format!("{app}-mover-config");
    assert_eq!(
        source["restic"]["moverVolumes"],
        json!([
            {"mountPath": "mover-config", "volumeSource": {"secret": {"secretName": &secret}}},
            {"mountPath": "repository", "volumeSource": repository},
        ])
    );
    assert_eq!(
        rendered.one("Secret", &secret)["stringData"],
        json!({
            "MOVER_HOST": "{name}.{namespace}", "MOVER_NAME": app, "MOVER_NAMESPACE": "default",
            "MOVER_FORGET": "off", "MOVER_PRUNE": "off", "MOVER_JITTER": "30s", "MOVER_PUSHGATEWAY": PUSHGATEWAY,
        })
    );
    let claim = rendered.one("PersistentVolumeClaim", &format!("{app}-config"));
    assert_eq!(
        claim["spec"]["dataSourceRef"],
        json!({"apiGroup": "volsync.backube", "kind": "ReplicationDestination", "name": format!("{app}-dst")})
    );
    assert_eq!(claim["spec"]["resources"]["requests"]["storage"], "5Gi");
    let kinds =
        ["ExternalSecret", "PersistentVolumeClaim", "ReplicationDestination", "ReplicationSource", "Secret"];
    let mut found: Vec<String> =
        rendered.names().iter().map(|name| name.split('/').next().unwrap().to_owned()).collect();
    found.sort();
    assert_eq!(found, kinds, "no admission policy");
}

#[test]
fn nfs() {
    let Some(rendered) = Rendered::of("nfs", &NFS) else { return };
    shared(&rendered, "atuin", &json!({"nfs": {"server": "nas.home", "path": "/mnt/ssdtank/backup"}}));
    let source = &rendered.one("ReplicationSource", "atuin-src")["spec"];
    assert_eq!(source["restic"]["retain"], json!({"hourly": 24, "daily": 10, "weekly": 4}));
    let context = &source["restic"]["moverSecurityContext"];
    assert_eq!((&context["runAsUser"], &context["supplementalGroups"]), (&json!(1001), &json!([65534])));
}

#[test]
fn cephfs() {
    let Some(rendered) = Rendered::of("cephfs", &CEPHFS[..2]) else { return };
    shared(&rendered, "emby", &json!({"persistentVolumeClaim": {"claimName": "volsync-repository"}}));
    let names = [
        ("VOLSYNC_SOURCE_PVC", "custom"),
        ("VOLSYNC_STORAGECLASS", "sc"),
        ("VOLSYNC_SNAPSHOTCLASS", "snap"),
        ("VOLSYNC_SCHEDULE", "0 */6 * * *"),
        ("VOLSYNC_REPOSITORY_DIR", "folder/app"),
    ];
    let rendered = Rendered::of("cephfs", &[&CEPHFS[..2], &names].concat()).unwrap();
    assert_eq!(url(&rendered, "emby-volsync-secret"), "/mnt/repository/folder/app");
    let source = &rendered.one("ReplicationSource", "emby-src")["spec"];
    assert_eq!(
        (&source["sourcePVC"], &source["trigger"]["schedule"]),
        (&json!("custom"), &json!("0 */6 * * *"))
    );
    rendered.one("PersistentVolumeClaim", "custom");
    assert_eq!(source["restic"]["volumeSnapshotClassName"], "snap");
}

/// One subvolume in several namespaces.
#[test]
fn a_cephfs_volume_in_every_namespace() {
    for namespace in ["default", "observability"] {
        let names = [&CEPHFS[2..], &[("VOLSYNC_NAMESPACE", namespace)]].concat();
        let Some(rendered) = Rendered::of("namespace-cephfs", &names) else { return };
        let name = format!("volsync-repository-{namespace}");
        let volume = &rendered.one("PersistentVolume", &name)["spec"];
        let claim = rendered.one("PersistentVolumeClaim", "volsync-repository");
        assert_eq!(
            (&claim["metadata"]["namespace"], &claim["spec"]["volumeName"]),
            (&json!(namespace), &json!(name))
        );
        assert_eq!(volume["claimRef"], json!({"namespace": namespace, "name": "volsync-repository"}));
        assert_eq!(volume["csi"]["volumeHandle"], format!("volsync-{namespace}"));
        assert_eq!(volume["csi"]["volumeAttributes"]["rootPath"], "/volumes/csi/volsync");
        assert_eq!(volume["csi"]["volumeAttributes"]["staticVolume"], "true");
        for (one, other) in [("accessModes", json!(["ReadWriteMany"])), ("storageClassName", json!(""))] {
            assert_eq!((&volume[one], &claim["spec"][one]), (&other, &other));
        }
        assert_eq!(volume["persistentVolumeReclaimPolicy"], "Retain");
    }
}

#[test]
fn maintenance() {
    for (example, names, volume) in [
        (
            "maintenance-nfs",
            &NFS[2..4],
            json!({"name": "repository", "nfs": {"server": "nas.home", "path": "/mnt/ssdtank/backup"}}),
        ),
        (
            "maintenance-cephfs",
            &CEPHFS[1..],
            json!({"name": "repository", "persistentVolumeClaim": {"claimName": "volsync-repository"}}),
        ),
    ] {
        let Some(rendered) = Rendered::of(example, names) else { return };
        let jobs: Vec<&Value> = rendered.all("CronJob").collect();
        assert_eq!(jobs.len(), 3, "{example}");
        for job in jobs {
            let pod = &job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
            assert_eq!(pod["volumes"][0], volume, "{example}");
            assert!(pod["securityContext"]["runAsUser"].is_i64(), "{example}");
            let container = &pod["containers"][0];
            let value = |name: &str| {
                let mut set = container["env"].as_array().unwrap().iter();
                set.find(|variable| variable["name"] == name).map(|variable| at(variable, "/value"))
            };
            assert_eq!(value("MOVER_PUSHGATEWAY"), Some(PUSHGATEWAY), "{example}");
            assert!(
                value("MOVER_REPORT_FILE").is_some_and(|file| file.starts_with("/reports/")),
                "{example}"
            );
            rendered.one("PersistentVolumeClaim", "volsync-reports");
        }
        assert_eq!(url(&rendered, "volsync-maintenance"), "/mnt/repository/restic");
    }
}

/// The names of all examples.
fn names() -> Vec<String> {
    let folder = std::fs::read_dir(crate::yaml::deploy().join("kustomize/example")).unwrap();
    let mut names: Vec<String> =
        folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What is Kubernetes' own has the fields of its API, and no others.
#[test]
fn what_kubernetes_knows_it_would_take() {
    let Some(program) = peer("kubernetes-validate") else { return };
    let all = [&R2[..], &MINIO[1..], &CEPHFS[1..], &NFS[2..4]].concat();
    let folder = scratch();
    let mut files = Vec::new();
    let mut wanted = 0;
    for name in names() {
        let Some(rendered) = Rendered::of(&name, &all) else { return };
        let own = |object: &&Value| ["v1", "batch/v1"].contains(&at(object, "/apiVersion"));
        for object in rendered.objects().iter().filter(own) {
            let file = folder.path().join(format!("{wanted}.yaml"));
            std::fs::write(&file, object.to_string()).unwrap();
            files.push(file);
            wanted += 1;
        }
        rendered.objects().iter().filter(|object| schema::is_of_a_table(object)).for_each(schema::check);
    }
    let validate = |files: &[std::path::PathBuf]| {
        let mut command = std::process::Command::new(&program);
        let output = command.args(["--strict", "-k", "1.34"]).args(files).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.success(), said)
    };
    let (sound, said) = validate(&files);
    assert!(sound && said.matches(" passed ").count() == wanted && wanted > 10, "{wanted}: {said}");
    // It can tell.
    let wrong = std::fs::read_to_string(&files[0]).unwrap().replacen("\"metadata\"", "\"metdata\"", 1);
    std::fs::write(&files[0], wrong).unwrap();
    assert!(!validate(&files[..1]).0);
}

/// None is forgotten here.
#[test]
fn every_example_is_rendered() {
    let names = names();
    assert_eq!(
        names,
        ["cephfs", "maintenance-cephfs", "maintenance-nfs", "minio", "namespace-cephfs", "nfs", "r2"]
    );
    for name in &names {
        assert!(built(name).is_none_or(|text| !text.is_empty()), "{name}");
    }
}
