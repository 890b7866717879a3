//! The run as OpenTelemetry has it, in OTLP's JSON or its binary form: its metrics, and its phases as a trace.
//!
//! A span for the run, one for each operation, one for each phase. A phase that came again is one span, as
//! long as all of its time. Names are those of the text format; ids are random.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::http::Http;
use super::metrics::{FAMILIES, Sample, samples};
use super::protobuf;
use crate::config::otlp::Otlp;
use crate::random::{SystemRandom, random_array};
use crate::report::RunSummary;
use crate::report::run_summary::{OperationSummary, Outcome};

/// Sends what is to be sent, metrics first.
pub(super) fn send(
    http: &Http,
    config: &Otlp,
    summary: &RunSummary,
    cache_bytes: Option<u64>,
) -> Result<(), String> {
    if let Some(protocol) = &config.foreign_protocol {
        return Err(format!("OTEL_EXPORTER_OTLP_PROTOCOL={protocol} is not spoken here, http/protobuf is"));
    }
    let headers: Vec<_> = config.headers.iter().map(|(name, value)| (name.as_str(), value.text())).collect();
    let form = if config.json { "application/json" } else { "application/x-protobuf" };
    let mut all = vec![("Content-Type", form)];
    all.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
    let mut outcome = Ok(());
    if let (Some(url), false) = (&config.metrics, summary.dry_run) {
        let value = metrics(summary, cache_bytes, &config.resource);
        outcome = http.post(&url.text(), &all, body(&value, protobuf::METRICS, config.json));
    }
    if let Some(url) = &config.traces {
        let ids = Ids { random: random_array(&SystemRandom).unwrap_or([7; 16]), spans: 0 };
        let value = trace(summary, &config.resource, ids);
        outcome = outcome.and(http.post(&url.text(), &all, body(&value, protobuf::TRACES, config.json)));
    }
    outcome
}

fn body(message: &Value, fields: &[protobuf::Field], json: bool) -> Vec<u8> {
    if json { message.to_string().into_bytes() } else { protobuf::encode(message, fields) }
}

fn metrics(summary: &RunSummary, cache_bytes: Option<u64>, resource: &[(String, String)]) -> Value {
    let samples = samples(summary, cache_bytes);
    let metrics: Vec<Value> = FAMILIES
        .iter()
        .filter_map(|family| {
            let of = samples.iter().filter(|sample| sample.family == *family);
            let points: Vec<Value> = of.map(|sample| point(sample, summary)).collect();
            let data = match family.kind() {
                // Cumulative, since the run began.
                "counter" => {
                    json!({ "sum": { "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": points } })
                }
                _ => json!({ "gauge": { "dataPoints": points } }),
            };
            let mut metric = json!({ "name": family.name, "description": family.help });
            metric.as_object_mut()?.extend(data.as_object()?.clone());
            (!points.is_empty()).then_some(metric)
        })
        .collect();
    let scoped = json!({ "scope": scope(), "metrics": metrics });
    json!({ "resourceMetrics": [{ "resource": of(resource), "scopeMetrics": [scoped] }] })
}

fn point(sample: &Sample, summary: &RunSummary) -> Value {
    let labels = sample.group.0.iter().chain(&sample.labels);
    json!({
        "attributes": labels.map(|(name, value)| attribute(name, value)).collect::<Vec<_>>(),
        "startTimeUnixNano": nanoseconds(summary.started),
        "timeUnixNano": nanoseconds(summary.ended),
        "asDouble": sample.value,
    })
}

/// Where the ids of spans come from.
struct Ids {
    random: [u8; 16],
    spans: u64,
}

impl Ids {
    fn trace(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.random) | 1)
    }

    fn span(&mut self) -> String {
        self.spans += 1;
        format!("{:016x}", (u128::from_be_bytes(self.random) as u64 | 1).wrapping_add(self.spans << 1))
    }
}

fn trace(summary: &RunSummary, resource: &[(String, String)], mut ids: Ids) -> Value {
    let run = ids.span();
    let error = summary.error.as_ref().map(|error| error.line.as_str());
    let whole = Span { name: "run", start: summary.started, end: summary.ended, error };
    let object = &summary.object;
    let labels = [("obj_name", &object.obj_name), ("obj_namespace", &object.obj_namespace)]
        .map(|(n, v)| attribute(n, v));
    let mut spans = vec![whole.json(&ids.trace(), &run, None, &labels)];
    for operation in summary.begun() {
        let own = ids.span();
        let start = operation.started.unwrap_or(summary.started);
        let end = operation.ended.unwrap_or(summary.ended);
        let error = failure(operation, error);
        let span = Span { name: operation.operation, start, end, error };
        spans.push(span.json(&ids.trace(), &own, Some(&run), &[]));
        for phase in &operation.phases {
            let took = std::time::Duration::try_from_secs_f64(phase.seconds).unwrap_or_default();
            let end = phase.started.checked_add(took).unwrap_or(phase.started);
            let span = Span { name: &phase.name, start: phase.started, end, error: None };
            let id = ids.span();
            spans.push(span.json(&ids.trace(), &id, Some(&own), &[]));
        }
    }
    let scoped = json!({ "scope": scope(), "spans": spans });
    json!({ "resourceSpans": [{ "resource": of(resource), "scopeSpans": [scoped] }] })
}

fn failure<'a>(operation: &OperationSummary, error: Option<&'a str>) -> Option<&'a str> {
    error.filter(|_| operation.outcome == Outcome::Failed)
}

struct Span<'a> {
    name: &'a str,
    start: Timestamp,
    end: Timestamp,
    error: Option<&'a str>,
}

impl Span<'_> {
    fn json(&self, trace: &str, id: &str, parent: Option<&str>, attributes: &[Value]) -> Value {
        // 1 is ok, 2 is an error; kind 1 is internal.
        let status = match self.error {
            Some(line) => json!({ "code": 2, "message": line }),
            None => json!({ "code": 1 }),
        };
        json!({
            "traceId": trace,
            "spanId": id,
            "parentSpanId": parent.unwrap_or_default(),
            "name": self.name,
            "kind": 1,
            "startTimeUnixNano": nanoseconds(self.start),
            "endTimeUnixNano": nanoseconds(self.end),
            "attributes": attributes,
            "status": status,
        })
    }
}

fn of(resource: &[(String, String)]) -> Value {
    json!({ "attributes": resource.iter().map(|(name, value)| attribute(name, value)).collect::<Vec<_>>() })
}

fn scope() -> Value {
    json!({ "name": "volmover", "version": env!("CARGO_PKG_VERSION") })
}

fn attribute(name: &str, value: &str) -> Value {
    json!({ "key": name, "value": { "stringValue": value } })
}

/// 64-bit numbers are text in OTLP's JSON.
fn nanoseconds(time: Timestamp) -> String {
    time.as_nanosecond().to_string()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::report::run_summary::testing::summary;

    #[test]
    fn a_run_is_a_trace_of_operations_and_phases() {
        let value =
            trace(&summary(), &[("service.name".into(), "x".into())], Ids { random: [9; 16], spans: 0 });
        let spans = value["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
        let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["run", "backup", "starting", "backup", "prune", "starting"]);
        assert_eq!(spans[1]["parentSpanId"], spans[0]["spanId"]);
        assert_eq!(spans[3]["parentSpanId"], spans[1]["spanId"]);
        assert_eq!((&spans[1]["status"]["code"], &spans[4]["status"]["code"]), (&1.into(), &2.into()));
        assert_eq!(spans[3]["startTimeUnixNano"], "1795248831000000000");
        assert_eq!(spans[3]["endTimeUnixNano"], "1795248833000000000");
        let mut ids: Vec<&str> = spans.iter().map(|span| span["spanId"].as_str().unwrap()).collect();
        assert!(ids.iter().all(|id| id.len() == 16) && spans[0]["traceId"].as_str().unwrap().len() == 32);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 6);
    }

    #[test]
    fn metrics_are_gauges_and_sums() {
        let value = metrics(&summary(), None, &[]);
        let all = value["resourceMetrics"][0]["scopeMetrics"][0]["metrics"].as_array().unwrap().clone();
        let named = |name: &str| all.iter().find(|metric| metric["name"] == name).unwrap().clone();
        let sum = named("mover_store_requests_total");
        assert_eq!(sum["sum"]["isMonotonic"], true);
        assert_eq!(sum["sum"]["dataPoints"][0]["asDouble"], 3.0);
        let gauge = named("mover_last_exit_code");
        assert_eq!(gauge["gauge"]["dataPoints"].as_array().unwrap().len(), 2);
        let attributes = gauge["gauge"]["dataPoints"][1]["attributes"].to_string();
        assert!(
            attributes.contains(r#"{"key":"operation","value":{"stringValue":"prune"}}"#),
            "{attributes}"
        );
    }
}
