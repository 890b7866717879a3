//! Examples as a cluster gets them: built by `kustomize`, their names filled in as Flux does.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::peer;
use crate::yaml::{deploy, documents};

/// The objects of an example.
#[derive(Debug)]
pub(crate) struct Rendered(Vec<Value>);

impl Rendered {
    /// Builds an example and fills in names; `None` where a program is missing and not required. Names that have
    /// neither a value nor a default panic, as Flux refuses them in strict mode.
    #[track_caller]
    pub(crate) fn of(example: &str, names: &[(&str, &str)]) -> Option<Self> {
        let text = built(example)?;
        for name in without_default(&text) {
            assert!(names.iter().any(|(known, _)| *known == name), "{example}: {name} has no value\n{text}");
        }
        Some(Self(documents(&filled_in(&text, names)?)))
    }

    /// The one object of a kind and name.
    #[track_caller]
    pub(crate) fn one(&self, kind: &str, name: &str) -> &Value {
        let mut found =
            self.0.iter().filter(|object| object["kind"] == kind && object["metadata"]["name"] == name);
        let one = found.next().unwrap_or_else(|| panic!("no {kind} {name}: {:?}", self.names()));
        assert!(found.next().is_none(), "{kind} {name} is there twice");
        one
    }

    /// All objects.
    pub(crate) fn objects(&self) -> &[Value] {
        &self.0
    }

    /// All objects of a kind.
    pub(crate) fn all(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// `kind/name` of all.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = |object: &Value| {
            format!("{}/{}", object["kind"].as_str().unwrap(), object["metadata"]["name"].as_str().unwrap())
        };
        self.0.iter().map(name).collect()
    }
}

/// The output of `kustomize build`.
#[track_caller]
pub(crate) fn built(example: &str) -> Option<String> {
    let folder = deploy().join("kustomize/example").join(example);
    let output = Command::new(peer("kustomize")?).arg("build").arg(folder).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && error.is_empty(), "{example}: {error}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Names are filled in by the program that Flux's own is made from.
fn filled_in(text: &str, names: &[(&str, &str)]) -> Option<String> {
    let mut command = Command::new(peer("envsubst")?);
    command.env_clear().envs(names.iter().copied().collect::<BTreeMap<_, _>>());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{text}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Names `${NAME}` that stand anywhere without a default.
pub(crate) fn without_default(text: &str) -> Vec<String> {
    let mut found: Vec<String> = text
        .split("${")
        .skip(1)
        .filter_map(|rest| {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?;
            rest[end..].starts_with('}').then(|| rest[..end].to_owned())
        })
        .collect();
    found.sort();
    found.dedup();
    found
}
