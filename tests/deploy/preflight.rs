//! preflight.sh on models of clusters: what it finds, and that it finds nothing where all is well.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::yaml::deploy;

fn operator(version: &str) -> Value {
    json!({
        "kind": "Deployment",
        "metadata": {"namespace": "volsync-system", "name": "volsync", "labels": {"app.kubernetes.io/name": "volsync"}},
        "spec": {"template": {"spec": {"containers": [
            {"name": "kube-rbac-proxy", "image": "quay.io/brancz/kube-rbac-proxy:v0.18.1"},
            {"name": "manager", "image": format!("quay.io/backube/volsync:{version}")},
        ]}}},
    })
}

fn object(kind: &str, name: &str, restic: &Value) -> Value {
    json!({"kind": kind, "metadata": {"namespace": "apps", "name": name}, "spec": {"restic": restic}})
}

fn secret(name: &str, url: &str) -> Value {
    json!({
        "kind": "Secret", "metadata": {"namespace": "apps", "name": name},
        "data": {"RESTIC_REPOSITORY": STANDARD.encode(url)},
    })
}

/// Exit code and output.
fn preflight(cluster: &Cluster) -> (i32, String) {
    let output = cluster.command("sh").arg(deploy().join("preflight.sh")).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8(text).unwrap();
    assert!(!text.contains("Gehe1m"), "{text}");
    for call in &cluster.state().calls {
        assert!(call.line.starts_with("get "), "it changes nothing: {}", call.line);
    }
    (output.status.code().unwrap(), text)
}

#[test]
fn nothing_speaks_against_it() {
    let nfs = json!({"repository": "on-path", "moverVolumes": [
        {"mountPath": "repository", "volumeSource": {"nfs": {"server": "nas", "path": "/"}}},
    ]});
    let cluster = Cluster::new(vec![
        operator("0.15.0"),
        object("ReplicationSource", "odoo", &json!({"repository": "on-s3"})),
        object("ReplicationDestination", "emby", &nfs),
        json!({"kind": "ReplicationSource", "metadata": {"namespace": "apps", "name": "synced"}, "spec": {"rsync": {}}}),
        secret("on-s3", "s3:https://key:Gehe1m@example.org/bucket"),
        secret("on-path", "/mnt/repository"),
    ]);
    let (code, text) = preflight(&cluster);
    assert_eq!(
        (code, text.as_str()),
        (
            0,
            "ok VolSync 0.15\nok replicationsource apps/odoo: s3\nok replicationdestination apps/emby: a path\n\
             Nothing speaks against the switch; look at what is marked ??\n"
        )
    );
}

#[test]
fn what_would_stop_working_is_found() {
    let nfs = json!({"repository": "b", "moverVolumes": [
        {"mountPath": "repository", "volumeSource": {"nfs": {"server": "nas", "path": "/"}}},
    ]});
    for (version, says) in [
        ("0.14.0", "!! replicationsource apps/odoo: NFS in moverVolumes needs VolSync 0.15"),
        ("v0.13.1", "?? before 0.14 no variable of volmover's own reaches the mover"),
        ("latest", "?? the version of VolSync is not known"),
    ] {
        let cluster = Cluster::new(vec![
            operator(version),
            object("ReplicationSource", "odoo", &nfs),
            secret("b", "s3:http://minio/bucket"),
        ]);
        let (code, text) = preflight(&cluster);
        assert!(text.contains(says), "{text}");
        assert_eq!(code, i32::from(version != "latest"), "{text}");
    }
    for url in [
        "rest:https://u:Gehe1m@host/",
        "b2:bucket:path",
        "azure:c:/",
        "gs:b:/",
        "swift:c:/",
        "sftp:u@h:/p",
        "rclone:r:p",
    ] {
        let restic = json!({"repository": "b"});
        let cluster = Cluster::new(vec![
            operator("0.16.0"),
            object("ReplicationDestination", "odoo", &restic),
            secret("b", url),
        ]);
        let (code, text) = preflight(&cluster);
        let scheme = url.split(':').next().unwrap();
        assert!(
            text.contains(&format!("!! replicationdestination apps/odoo: {scheme} is not served yet")),
            "{text}"
        );
        assert!(text.ends_with("Do not switch yet: what is marked !! would stop working\n"), "{text}");
        assert_eq!(code, 1);
    }
}

#[test]
fn what_cannot_be_read_is_told() {
    let objects =
        || vec![operator("1.0.0"), object("ReplicationSource", "odoo", &json!({"repository": "none"}))];
    let (code, text) = preflight(&Cluster::new(objects()));
    assert!(
        text.contains("ok VolSync 1.0\n?? replicationsource apps/odoo: secret none has no RESTIC_REPOSITORY"),
        "{text}"
    );
    assert_eq!(code, 0);
    let cluster = Cluster::new(objects());
    cluster.state().operator.refused = Some("get replicationsource".to_owned());
    let (code, text) = preflight(&cluster);
    assert_eq!(code, 2, "a list that failed is no empty list: {text}");
    assert!(!text.contains("Nothing speaks against"), "{text}");
}
