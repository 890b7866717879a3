//! The files of deploy/, and their YAML as JSON values.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

/// The folder itself.
pub(crate) fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

/// A file of it.
pub(crate) fn text(file: &str) -> String {
    fs::read_to_string(deploy().join(file)).unwrap_or_else(|cause| panic!("deploy/{file}: {cause}"))
}

/// All files of deploy/ whose name ends so, sorted.
pub(crate) fn files(end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![deploy()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The documents of a YAML text, with anchors and merge keys resolved; panics on a key that is there twice.
#[track_caller]
pub(crate) fn documents(text: &str) -> Vec<Value> {
    let parse = |document| {
        let mut value = serde_yaml_ng::Value::deserialize(document)?;
        value.apply_merge()?;
        serde_yaml_ng::from_value::<Value>(value)
    };
    let documents: Result<Vec<Value>, _> = serde_yaml_ng::Deserializer::from_str(text).map(parse).collect();
    documents.unwrap_or_else(|cause| panic!("{cause}\n{text}"))
}

/// The one document of a file of deploy/.
#[track_caller]
pub(crate) fn document(file: &str) -> Value {
    let mut documents = documents(&text(file));
    assert_eq!(documents.len(), 1, "{file}");
    documents.remove(0)
}

/// Visits every value with its path, e.g. `spec.restic.moverVolumes[].mountPath`.
pub(crate) fn walk(value: &Value, path: &str, visit: &mut dyn FnMut(&str, &Value)) {
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, field) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                walk(field, &format!("{path}{dot}{name}"), visit);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                walk(item, &format!("{path}[]"), visit);
            }
        }
        leaf => visit(path, leaf),
    }
}

/// A text at a JSON pointer.
#[track_caller]
pub(crate) fn at<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("no text at {pointer}: {value:#}"))
}
