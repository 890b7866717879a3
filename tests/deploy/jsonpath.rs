//! kubectl's templates, as far as deploy/ uses them: `range`, texts, fields, `[*]`, `[0]`, and filters by equality.
//!
//! As kubectl has it, a field that is not there is nothing, several results are parted by blanks, and what is no
//! text is printed as JSON. Anything else panics: it may well mean something to kubectl.

use serde_json::Value;

/// The text that a template makes of a value.
pub(crate) fn evaluate(template: &str, root: &Value) -> String {
    let mut pieces = pieces(template).into_iter();
    let mut text = String::new();
    write(&mut pieces, root, &mut text);
    text
}

fn pieces(template: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = template;
    while let Some(begin) = rest.find('{') {
        assert_eq!(begin, 0, "text outside of braces: {template}");
        let mut quoted = false;
        let end = rest.char_indices().find(|(_, character)| {
            quoted ^= *character == '"';
            *character == '}' && !quoted
        });
        let (end, _) = end.unwrap_or_else(|| panic!("no end: {template}"));
        found.push(rest[1..end].to_owned());
        rest = &rest[end + 1..];
    }
    assert!(rest.is_empty(), "text outside of braces: {template}");
    found
}

fn write(pieces: &mut dyn Iterator<Item = String>, at: &Value, text: &mut String) {
    while let Some(piece) = pieces.next() {
        if let Some(path) = piece.strip_prefix("range ") {
            let mut inner = Vec::new();
            for piece in &mut *pieces {
                if piece == "end" {
                    break;
                }
                assert!(!piece.starts_with("range "), "ranges in ranges");
                inner.push(piece);
            }
            for item in select(at, path) {
                write(&mut inner.clone().into_iter(), item, text);
            }
        } else if let Some(literal) = piece.strip_prefix('"') {
            text.push_str(&literal.strip_suffix('"').unwrap().replace("\\n", "\n"));
        } else {
            let shown: Vec<String> = select(at, &piece).into_iter().map(show).collect();
            text.push_str(&shown.join(" "));
        }
    }
}

fn show(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn select<'v>(root: &'v Value, path: &str) -> Vec<&'v Value> {
    let mut found = vec![root];
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(inside) = rest.strip_prefix('[') {
            let (step, after) = inside.split_once(']').unwrap_or_else(|| panic!("{path}"));
            let items = found.into_iter().filter_map(Value::as_array);
            found = match step.strip_prefix("?(@").and_then(|filter| filter.strip_suffix(')')) {
                Some(filter) => items.flatten().filter(|item| holds(item, filter)).collect(),
                None if step == "*" => items.flatten().collect(),
                None => items.filter_map(|items| items.get(step.parse::<usize>().unwrap())).collect(),
            };
            rest = after;
        } else {
            let inside = rest.strip_prefix('.').unwrap_or_else(|| panic!("{path}"));
            let end = inside.find(['.', '[']).unwrap_or(inside.len());
            found = found.into_iter().filter_map(|value| value.get(&inside[..end])).collect();
            rest = &inside[end..];
        }
    }
    found
}

/// `.name=="value"`
fn holds(item: &Value, filter: &str) -> bool {
    let (path, value) = filter.split_once("==").unwrap_or_else(|| panic!("{filter}"));
    select(item, path).first().is_some_and(|found| show(found) == value.trim_matches('"'))
}

/// What kubectl 1.32 printed for the same templates and object.
#[test]
fn as_kubectl_prints_it() {
    let object = serde_json::json!({
        "spec": {
            "user": {"runAsUser": 12, "fsGroup": 3},
            "volumes": [
                {"mountPath": "mover-config", "volumeSource": {"secret": {"secretName": "s"}}},
                {"mountPath": "repository", "volumeSource": {"nfs": {"server": "n", "path": "/p"}}},
            ],
        },
        "status": {"conditions": [{"type": "Synchronizing", "reason": "Error"}]},
    });
    for (template, expected) in [
        (r#"{.spec.volumes[?(@.mountPath=="mover-config")].volumeSource.secret.secretName}"#, "s"),
        ("{.spec.user}", r#"{"fsGroup":3,"runAsUser":12}"#),
        ("{.spec.nothing}", ""),
        ("{.spec.nothing[*].more}", ""),
        ("{.spec.volumes[*].mountPath}", "mover-config repository"),
        (
            r#"{range .spec.volumes[*]}{.mountPath}{"|"}{.volumeSource.nfs.server}{"\n"}{end}"#,
            "mover-config|\nrepository|n\n",
        ),
        (r#"{.status.conditions[?(@.type=="Synchronizing")].reason}"#, "Error"),
        ("{.spec.volumes[0].volumeSource.secret}", r#"{"secretName":"s"}"#),
    ] {
        assert_eq!(evaluate(template, &object), expected, "{template}");
    }
}
