//! The fields of VolSync's restic objects, as its CRDs have them (v0.16), of what else the examples are made of,
//! and whether an object keeps to them.
//!
//! An API server drops a field that it does not know, so a misspelt one looks like one that works. The table
//! holds the fields of `spec` that restic movers know; of pods' security context those that are in use.

use serde_json::Value;

use crate::yaml::walk;

/// `path type`; a star ends a path below which anything may stand.
const COMMON: &str = "
paused boolean
trigger.manual string
trigger.schedule string
restic.accessModes[] string
restic.cacheAccessModes[] string
restic.cacheCapacity quantity
restic.cacheStorageClassName string
restic.capacity quantity
restic.copyMethod string
restic.customCA.configMapName string
restic.customCA.key string
restic.customCA.secretName string
restic.moverAffinity.* any
restic.moverPodLabels.* string
restic.moverResources.limits.* quantity
restic.moverResources.requests.* quantity
restic.moverSecurityContext.fsGroup integer
restic.moverSecurityContext.fsGroupChangePolicy string
restic.moverSecurityContext.runAsGroup integer
restic.moverSecurityContext.runAsNonRoot boolean
restic.moverSecurityContext.runAsUser integer
restic.moverSecurityContext.seccompProfile.type string
restic.moverSecurityContext.supplementalGroups[] integer
restic.moverServiceAccount string
restic.moverVolumes[].mountPath string
restic.moverVolumes[].volumeSource.nfs.path string
restic.moverVolumes[].volumeSource.nfs.readOnly boolean
restic.moverVolumes[].volumeSource.nfs.server string
restic.moverVolumes[].volumeSource.persistentVolumeClaim.claimName string
restic.moverVolumes[].volumeSource.persistentVolumeClaim.readOnly boolean
restic.moverVolumes[].volumeSource.secret.secretName string
restic.repository string
restic.storageClassName string
restic.volumeSnapshotClassName string
";
const SOURCE: &str = "
sourcePVC string
restic.pruneIntervalDays integer
restic.retain.daily integer
restic.retain.hourly integer
restic.retain.last string
restic.retain.monthly integer
restic.retain.weekly integer
restic.retain.within string
restic.retain.yearly integer
restic.unlock string
";
const DESTINATION: &str = "
restic.cleanupCachePVC boolean
restic.cleanupTempPVC boolean
restic.destinationPVC string
restic.enableFileDeletion boolean
restic.previous integer
restic.restoreAsOf date-time
";
/// Of Flux, External Secrets and the Prometheus operator: kind, version, fields of `spec` that are in use.
const OTHERS: [(&str, &str, &str); 3] = [
    (
        "Kustomization",
        "kustomize.toolkit.fluxcd.io/v1",
        "
components[] string
dependsOn[].name string
interval duration
path string
postBuild.substitute.* string
prune boolean
sourceRef.kind string
sourceRef.name string
targetNamespace string
",
    ),
    (
        "ExternalSecret",
        "external-secrets.io/v1",
        "
data[].remoteRef.key string
data[].remoteRef.property string
data[].secretKey string
dataFrom[].extract.key string
refreshInterval duration
secretStoreRef.kind string
secretStoreRef.name string
target.creationPolicy string
target.name string
target.template.data.* string
target.template.engineVersion string
",
    ),
    (
        "PrometheusRule",
        "monitoring.coreos.com/v1",
        "
groups[].name string
groups[].rules[].alert string
groups[].rules[].annotations.* string
groups[].rules[].expr string
groups[].rules[].for duration
groups[].rules[].labels.* string
groups[].rules[].record string
",
    ),
];
const COPY_METHODS: [&str; 4] = ["Direct", "None", "Clone", "Snapshot"];

fn of_others(object: &Value) -> Option<&'static str> {
    let mut known = OTHERS.iter();
    let is = |(kind, version, _): &&(&str, &str, &str)| {
        object["kind"] == *kind && object["apiVersion"] == *version
    };
    known.find(is).map(|(.., fields)| *fields)
}

/// Whether `check` knows its fields.
pub(crate) fn is_of_a_table(object: &Value) -> bool {
    object["apiVersion"] == "volsync.backube/v1alpha1" || of_others(object).is_some()
}

/// Panics unless an object of one of the tables has fields that exist, of their types, and what it needs.
#[track_caller]
pub(crate) fn check(object: &Value) {
    if let Some(fields) = of_others(object) {
        let wrong = unknown_fields(&object["spec"], &[fields]);
        assert!(wrong.is_empty(), "{wrong:?}\n{object:#}");
        return;
    }
    assert_eq!(object["apiVersion"], "volsync.backube/v1alpha1");
    let own = match object["kind"].as_str() {
        Some("ReplicationSource") => SOURCE,
        Some("ReplicationDestination") => DESTINATION,
        other => panic!("{other:?} is no object of restic movers"),
    };
    let wrong = wrong_fields(&object["spec"], own);
    assert!(wrong.is_empty(), "{wrong:?}\n{object:#}");
}

/// What no table has, or what is of another type.
fn unknown_fields(spec: &Value, tables: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    walk(spec, "", &mut |path, value| {
        let kind = tables.iter().flat_map(|table| table.lines()).find_map(|line| {
            let (known, kind) = line.split_once(' ')?;
            let fits = known.strip_suffix('*').map_or(known == path, |begin| path.starts_with(begin));
            fits.then_some(kind)
        });
        match kind {
            None => wrong.push(format!("{path} does not exist")),
            Some(kind) if !is_of(value, kind) => wrong.push(format!("{path} is no {kind}: {value}")),
            Some(_) => {}
        }
    });
    wrong
}

/// What is wrong with a `spec` of VolSync.
fn wrong_fields(spec: &Value, own: &str) -> Vec<String> {
    let mut wrong = unknown_fields(spec, &[COMMON, own]);
    let restic = &spec["restic"];
    if !restic["repository"].is_string() {
        wrong.push("restic.repository is missing".to_owned());
    }
    if !restic["copyMethod"].as_str().is_some_and(|method| COPY_METHODS.contains(&method)) {
        wrong.push(format!("restic.copyMethod is none: {}", restic["copyMethod"]));
    }
    for volume in restic["moverVolumes"].as_array().into_iter().flatten() {
        let one = volume["volumeSource"].as_object().is_some_and(|sources| sources.len() == 1);
        if !one || !volume["mountPath"].is_string() {
            wrong.push(format!("a mover volume needs a path and one source: {volume}"));
        }
    }
    wrong
}

fn is_of(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        "duration" => value.as_str().is_some_and(|text| {
            text.trim_end_matches(['s', 'm', 'h', 'd']).parse::<u32>().is_ok_and(|number| number > 0)
        }),
        "quantity" => value.is_i64() || value.as_str().is_some_and(is_quantity),
        "date-time" => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
        _ => true,
    }
}

/// `2Gi`, `100m`, `5`
fn is_quantity(text: &str) -> bool {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    !number.is_empty() && ["", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"].contains(&unit)
}

#[test]
fn what_does_not_exist_is_found() {
    let good = serde_json::json!({
        "sourcePVC": "data", "trigger": {"schedule": "0 * * * *"},
        "restic": {"repository": "secret", "copyMethod": "Snapshot", "retain": {"daily": 7}},
    });
    assert_eq!(wrong_fields(&good, SOURCE), Vec::<String>::new());
    assert_eq!(wrong_fields(&good, DESTINATION).len(), 2, "a destination knows neither PVC nor retention");
    for (pointer, value) in [
        ("/restic/retain/daily", "7".into()),
        ("/restic/copyMethod", "Snap".into()),
        ("/restic/repository", Value::Null),
        ("/restic", serde_json::json!({"repository": "s", "copyMethod": "Direct", "cacheCapacty": "1Gi"})),
        ("/restic", serde_json::json!({"repository": "s", "copyMethod": "Direct", "cacheCapacity": "1 GB"})),
        (
            "/restic",
            serde_json::json!({"repository": "s", "copyMethod": "Direct",
                "moverVolumes": [{"mountPath": "x", "volumeSource": {}}]}),
        ),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(pointer).unwrap() = value;
        assert!(!wrong_fields(&bad, SOURCE).is_empty(), "{bad}");
    }
}
