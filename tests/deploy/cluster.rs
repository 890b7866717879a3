//! A model of a cluster behind a `kubectl` that records: objects, and an operator that does what VolSync does.
//!
//! `kubectl` is a script that hands its arguments, and what it is to apply, to this process. What is asked
//! twice changes in between: triggers are carried out at the second look, as a cluster takes its time.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::jsonpath::evaluate;
use crate::support::scratch;

const KUBECTL: &str = r#"#!/bin/bash
set -eu
input=
case " $* " in *" -f - "*) input=$(base64 -w0) ;; esac
exec 3<>"/dev/tcp/127.0.0.1/$MODEL_CLUSTER"
{
  printf '%s\n' "$#"
  for argument; do printf '%s' "$argument" | base64 -w0; echo; done
  printf '%s\n' "$input"
  printf '%s' "${KUBECONFIG:-}" | base64 -w0; echo
} >&3
read -r code <&3
[ "$code" = 0 ] || exec >&2
cat <&3
exit "$code"
"#;

/// A call of kubectl.
#[derive(Debug, Clone)]
pub(crate) struct Called {
    /// The arguments, parted by blanks.
    pub line: String,
    /// What stood on stdin.
    pub input: String,
    /// `KUBECONFIG`
    pub kubeconfig: String,
}

/// How the operator carries out what is asked of it.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    /// It never ends.
    pub stuck: bool,
    /// The mover fails.
    pub fails: bool,
    /// What a restore says.
    pub restore_says: String,
    /// What pods say, and that they fail.
    pub pod_says: String,
    pub pod_fails: bool,
    /// Calls with this text are refused.
    pub refused: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub objects: Vec<Value>,
    pub calls: Vec<Called>,
    pub operator: Operator,
    looks: HashMap<String, u32>,
}

/// The model; calls end when it is dropped.
pub(crate) struct Cluster {
    state: Arc<Mutex<State>>,
    port: u16,
    folder: TempDir,
}

impl Cluster {
    pub(crate) fn new(objects: Vec<Value>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { objects, ..State::default() }));
        let folder = scratch();
        let program = folder.path().join("bin/kubectl");
        fs::create_dir(folder.path().join("bin")).unwrap();
        fs::write(&program, KUBECTL).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let shared = Arc::clone(&state);
        // It lives as long as the test program; nobody calls it after its test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A caller that was killed is no matter.
                let _ = serve(&shared, &stream);
            }
        });
        Self { state, port, folder }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A folder of its own, where the commands run.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A program that finds this kubectl and nothing else of ours. It does not rest between two looks, and gives up
    /// after a minute.
    pub(crate) fn command(&self, program: impl Into<PathBuf>) -> Command {
        let mut command = Command::new(program.into());
        command.env_clear().current_dir(self.folder());
        command.env("PATH", format!("{}:/usr/bin:/bin", self.folder().join("bin").display()));
        command
            .env("HOME", self.folder())
            .env("MODEL_CLUSTER", self.port.to_string())
            .env("PAUSE", "0")
            .env("TIMEOUT", "60");
        command
    }

    /// The calls that begin so.
    pub(crate) fn calls(&self, begin: &str) -> Vec<Called> {
        self.state().calls.iter().filter(|call| call.line.starts_with(begin)).cloned().collect()
    }

    /// What was applied of a kind, in order.
    pub(crate) fn applied(&self, kind: &str) -> Vec<Value> {
        let parse = |call: &Called| serde_json::from_str::<Value>(&call.input).unwrap();
        self.calls("apply").iter().map(parse).filter(|object| object["kind"] == kind).collect()
    }

    /// An object as it stands now.
    pub(crate) fn object(&self, kind: &str, name: &str) -> Option<Value> {
        let state = self.state();
        let mut found = state.objects.iter().filter(|object| is(object, &kind.to_lowercase(), "", name));
        found.next().cloned()
    }
}

fn serve(state: &Mutex<State>, mut stream: &TcpStream) -> Option<()> {
    let mut lines = BufReader::new(stream).lines();
    let count: usize = lines.next()?.ok()?.parse().ok()?;
    let mut next = || String::from_utf8(STANDARD.decode(lines.next()?.ok()?).ok()?).ok();
    let arguments: Vec<String> = (0..count).map(|_| next()).collect::<Option<_>>()?;
    let called = Called { line: arguments.join(" "), input: next()?, kubeconfig: next()? };
    let answer = state.lock().unwrap().answer(&arguments, called);
    match answer {
        Ok(text) => write!(stream, "0\n{text}").ok(),
        Err(text) => write!(stream, "1\nError from server: {text}\n").ok(),
    }
}

/// Whether an object is of a kind (lower case, one or many), a namespace and a name; empty: of any.
fn is(object: &Value, kind: &str, namespace: &str, name: &str) -> bool {
    let metadata = &object["metadata"];
    object["kind"].as_str().unwrap().to_lowercase() == kind.trim_end_matches('s')
        && (namespace.is_empty() || metadata["namespace"] == namespace)
        && (name.is_empty() || metadata["name"] == name)
}

/// The value after an option.
fn option<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    arguments.iter().position(|argument| argument == name).map(|at| arguments[at + 1].as_str())
}

impl State {
    fn answer(&mut self, arguments: &[String], called: Called) -> Result<String, String> {
        let (line, input) = (called.line.clone(), called.input.clone());
        self.calls.push(called);
        if self.operator.refused.as_ref().is_some_and(|refused| line.contains(refused)) {
            return Err("Forbidden".to_owned());
        }
        let arguments = match arguments {
            [context, _, rest @ ..] if context == "--context" => rest,
            arguments => arguments,
        };
        let namespace = option(arguments, "-n").unwrap_or_default();
        assert!(
            !namespace.is_empty() || line.contains("-A") || line.contains("apply") || line.ends_with("class"),
            "in no namespace: {line}"
        );
        let name = arguments.get(2).filter(|name| !name.starts_with('-')).map_or("", String::as_str);
        match arguments[0].as_str() {
            "get" => self.get(&arguments[1], namespace, name, arguments),
            "patch" => self.patch(&arguments[1], namespace, name, option(arguments, "-p").unwrap()),
            "apply" => self.apply(&input),
            "delete" => {
                self.objects.retain(|object| !is(object, &arguments[1], namespace, name));
                Ok(format!("{} \"{name}\" deleted\n", arguments[1]))
            }
            "logs" => Ok(self.operator.pod_says.clone()),
            // What people do by hand is done.
            "annotate" | "create" | "describe" | "rollout" | "scale" | "wait" => Ok(String::new()),
            other => Err(format!("unknown command {other}")),
        }
    }

    fn get(
        &mut self,
        kind: &str,
        namespace: &str,
        name: &str,
        arguments: &[String],
    ) -> Result<String, String> {
        self.operate();
        let Some(output) = option(arguments, "-o") else { return Ok(String::new()) };
        let template = output.strip_prefix("jsonpath=").unwrap();
        let found = self.objects.iter().filter(|object| is(object, kind, namespace, name));
        let mut found: Vec<Value> = found.cloned().collect();
        if let Some((label, value)) = option(arguments, "-l").and_then(|label| label.split_once('=')) {
            found.retain(|object| object["metadata"]["labels"][label] == value);
        }
        if name.is_empty() {
            return Ok(evaluate(template, &json!({ "items": found })));
        }
        let one = found.first().ok_or_else(|| format!("{kind} \"{name}\" not found"))?;
        Ok(evaluate(template, one))
    }

    fn patch(&mut self, kind: &str, namespace: &str, name: &str, patch: &str) -> Result<String, String> {
        let found = self.objects.iter_mut().find(|object| is(object, kind, namespace, name));
        merge(found.ok_or("not found")?, &serde_json::from_str(patch).map_err(|cause| cause.to_string())?);
        Ok(format!("{kind}/{name} patched\n"))
    }

    fn apply(&mut self, text: &str) -> Result<String, String> {
        let object: Value = serde_json::from_str(text).map_err(|cause| format!("{cause}: {text}"))?;
        let (kind, metadata) = (object["kind"].as_str().unwrap().to_lowercase(), object["metadata"].clone());
        let (namespace, name) = (metadata["namespace"].as_str().unwrap(), metadata["name"].as_str().unwrap());
        assert!(!namespace.is_empty() && !name.is_empty(), "{text}");
        self.objects.retain(|object| !is(object, &kind, namespace, name));
        self.objects.push(object);
        Ok(format!("{kind}/{name} created\n"))
    }

    /// Carries out what is asked for the second time.
    fn operate(&mut self) {
        let Operator { stuck, fails, restore_says, pod_fails, .. } = &self.operator;
        for object in self.objects.iter_mut().filter(|_| !stuck) {
            let kind = object["kind"].as_str().unwrap().to_owned();
            let wanted = match kind.as_str() {
                "ReplicationSource" | "ReplicationDestination" => object["spec"]["trigger"]["manual"].clone(),
                "Pod" => object["metadata"]["name"].clone(),
                _ => continue,
            };
            let done =
                if kind == "Pod" { &object["status"]["phase"] } else { &object["status"]["lastManualSync"] };
            if wanted.is_null() || *done == wanted || (kind == "Pod" && done.is_string()) {
                continue;
            }
            let looks = self.looks.entry(format!("{kind} {wanted}")).or_default();
            *looks += 1;
            if *looks < 6 {
                continue;
            }
            let unlock = object["spec"]["restic"]["unlock"].clone();
            let says = if kind == "ReplicationSource" { "snapshot 1a2b3c4d saved" } else { restore_says };
            let status = match (kind.as_str(), fails, pod_fails) {
                ("Pod", _, false) => json!({"phase": "Succeeded"}),
                ("Pod", _, true) => json!({"phase": "Failed"}),
                (_, true, _) => {
                    json!({"latestMoverStatus": {"result": "Failed", "logs": "Fatal: the store is on fire"}})
                }
                _ => json!({
                    "lastManualSync": wanted,
                    "restic": {"lastUnlocked": unlock},
                    "latestMoverStatus": {"result": "Successful", "logs": says},
                }),
            };
            merge(object, &json!({ "status": status }));
        }
    }
}

/// A merge patch (RFC 7386): null takes away.
fn merge(value: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *value = patch.clone();
        return;
    };
    if !value.is_object() {
        *value = json!({});
    }
    let target = value.as_object_mut().unwrap();
    for (name, field) in fields {
        if field.is_null() {
            target.remove(name);
        } else {
            merge(target.entry(name.clone()).or_insert(Value::Null), field);
        }
    }
}
