//! OTLP's messages in their binary form, made from their JSON by a table of fields.
//!
//! The two forms have the same fields; where they differ, the table says so: ids are hex in JSON, and 64-bit
//! numbers are text. What is not in the table, and what is empty, is left out, as protobuf leaves out defaults.

use serde_json::Value;

/// How a field is written.
pub(super) enum Kind {
    Text,
    /// Bytes, which JSON has as hex.
    Hex,
    /// A number of a few bits, an enum or a boolean.
    Varint,
    /// Eight bytes, which JSON has as text.
    Fixed,
    Double,
    Message(&'static [Field]),
}

/// A field: its name in JSON, its number, how it is written. One that repeats is an array in JSON.
pub(super) type Field = (&'static str, u8, Kind);

/// `ExportMetricsServiceRequest`
pub(super) const METRICS: &[Field] = &[(
    "resourceMetrics",
    1,
    Kind::Message(&[("resource", 1, RESOURCE), ("scopeMetrics", 2, Kind::Message(SCOPE_METRICS))]),
)];

/// `ExportTraceServiceRequest`
pub(super) const TRACES: &[Field] = &[(
    "resourceSpans",
    1,
    Kind::Message(&[("resource", 1, RESOURCE), ("scopeSpans", 2, Kind::Message(SCOPE_SPANS))]),
)];

const ATTRIBUTE: Kind =
    Kind::Message(&[("key", 1, Kind::Text), ("value", 2, Kind::Message(&[("stringValue", 1, Kind::Text)]))]);
const RESOURCE: Kind = Kind::Message(&[("attributes", 1, ATTRIBUTE)]);
const SCOPE: Kind = Kind::Message(&[("name", 1, Kind::Text), ("version", 2, Kind::Text)]);

const SCOPE_METRICS: &[Field] = &[("scope", 1, SCOPE), ("metrics", 2, Kind::Message(METRIC))];
const METRIC: &[Field] = &[
    ("name", 1, Kind::Text),
    ("description", 2, Kind::Text),
    ("gauge", 5, Kind::Message(&[("dataPoints", 1, POINT)])),
    (
        "sum",
        7,
        Kind::Message(&[
            ("dataPoints", 1, POINT),
            ("aggregationTemporality", 2, Kind::Varint),
            ("isMonotonic", 3, Kind::Varint),
        ]),
    ),
];
const POINT: Kind = Kind::Message(&[
    ("startTimeUnixNano", 2, Kind::Fixed),
    ("timeUnixNano", 3, Kind::Fixed),
    ("asDouble", 4, Kind::Double),
    ("attributes", 7, ATTRIBUTE),
]);

const SCOPE_SPANS: &[Field] = &[("scope", 1, SCOPE), ("spans", 2, Kind::Message(SPAN))];
const SPAN: &[Field] = &[
    ("traceId", 1, Kind::Hex),
    ("spanId", 2, Kind::Hex),
    ("parentSpanId", 4, Kind::Hex),
    ("name", 5, Kind::Text),
    ("kind", 6, Kind::Varint),
    ("startTimeUnixNano", 7, Kind::Fixed),
    ("endTimeUnixNano", 8, Kind::Fixed),
    ("attributes", 9, ATTRIBUTE),
    ("status", 15, Kind::Message(&[("message", 2, Kind::Text), ("code", 3, Kind::Varint)])),
];

/// A message with these fields.
pub(super) fn encode(message: &Value, fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, number, kind) in fields {
        match message.get(name) {
            Some(Value::Array(all)) => all.iter().for_each(|one| field(&mut bytes, *number, kind, one)),
            Some(one) => field(&mut bytes, *number, kind, one),
            None => {}
        }
    }
    bytes
}

fn field(bytes: &mut Vec<u8>, number: u8, kind: &Kind, value: &Value) {
    let text = value.as_str().unwrap_or_default();
    let mut tag = |wire: u8| bytes.push(number << 3 | wire);
    match kind {
        Kind::Varint => {
            tag(0);
            varint(bytes, value.as_u64().unwrap_or_else(|| value.as_bool().unwrap_or_default().into()));
        }
        Kind::Fixed => {
            tag(1);
            bytes.extend(text.parse::<u64>().unwrap_or_default().to_le_bytes());
        }
        Kind::Double => {
            tag(1);
            bytes.extend(value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Kind::Text => lengthy(bytes, number, text.as_bytes()),
        Kind::Hex => lengthy(bytes, number, &unhexed(text)),
        Kind::Message(fields) => lengthy(bytes, number, &encode(value, fields)),
    }
}

/// A field with its length before it.
fn lengthy(bytes: &mut Vec<u8>, number: u8, content: &[u8]) {
    bytes.push(number << 3 | 2);
    varint(bytes, content.len() as u64);
    bytes.extend(content);
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn unhexed(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_written_as_protobuf_has_them() {
        let span = json!({
            "traceId": "0aff",
            "parentSpanId": "",
            "name": "x".repeat(300),
            "kind": 1,
            "startTimeUnixNano": "258",
            "attributes": [{ "key": "a", "value": { "stringValue": "b" } }, { "key": "c" }],
            "unknown": 1,
        });
        let mut expected = vec![0x0a, 2, 0x0a, 0xff, 0x22, 0, 0x2a, 0xac, 2];
        expected.extend([b'x'; 300]);
        expected.extend([0x30, 1, 0x39, 2, 1, 0, 0, 0, 0, 0, 0]);
        expected.extend([0x4a, 8, 0x0a, 1, b'a', 0x12, 3, 0x0a, 1, b'b', 0x4a, 3, 0x0a, 1, b'c']);
        assert_eq!(encode(&span, SPAN), expected);
        let sum = json!({ "sum": { "isMonotonic": true, "dataPoints": [{ "asDouble": 1.5 }] } });
        let expected = [0x3a, 13, 0x0a, 9, 0x21, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0x18, 1];
        assert_eq!(encode(&sum, METRIC), expected);
    }
}
