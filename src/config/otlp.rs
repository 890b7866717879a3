//! OpenTelemetry, as its own variables have it: the endpoint of both signals with a path below it, or one for
//! each, which is taken as it is.
//!
//! Messages go over HTTP, in protobuf or in JSON. Another protocol, such as gRPC, is no reason to fail a backup:
//! the variables of OpenTelemetry are often set for a whole cluster.

use super::env::Lookup;
use super::outlets::url;
use super::secret::{Secret, decoded};
use super::variables::{
    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_HEADERS, OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
    OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_METRICS_EXPORTER,
    OTEL_RESOURCE_ATTRIBUTES, OTEL_SDK_DISABLED, OTEL_SERVICE_NAME, OTEL_TRACES_EXPORTER,
};
use crate::error::Result;

/// Where OTLP goes; no URLs: nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Otlp {
    /// Where metrics go.
    pub metrics: Option<Secret>,
    /// Where traces go.
    pub traces: Option<Secret>,
    /// Headers of both.
    pub headers: Vec<(String, Secret)>,
    /// What is said of the program: names and values, `service.name` first.
    pub resource: Vec<(String, String)>,
    /// Messages are JSON, not protobuf.
    pub json: bool,
    /// A protocol that something is to be sent by and that is not spoken here: then nothing is sent.
    pub foreign_protocol: Option<String>,
}

impl Otlp {
    /// From the variables.
    pub(super) fn parse(lookup: &Lookup) -> Result<Self> {
        let disabled = lookup.flag(&OTEL_SDK_DISABLED, false)?;
        let protocol = lookup.text(&OTEL_EXPORTER_OTLP_PROTOCOL)?;
        if let Some(foreign) = protocol.filter(|name| !["http/protobuf", "http/json"].contains(name)) {
            let endpoints = [
                &OTEL_EXPORTER_OTLP_ENDPOINT,
                &OTEL_EXPORTER_OTLP_METRICS_ENDPOINT,
                &OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
            ];
            let is_set = endpoints.iter().any(|endpoint| lookup.value(endpoint).is_some());
            let foreign_protocol = (is_set && !disabled).then(|| foreign.to_owned());
            return Ok(Self { foreign_protocol, ..Self::default() });
        }
        let base = url(lookup, &OTEL_EXPORTER_OTLP_ENDPOINT)?;
        let place = |own: Option<Secret>, exporter: Option<&str>, path: &str| {
            let below = |base: &Secret| {
                Secret::new(format!("{}/{path}", base.text().trim_end_matches('/')).into_bytes())
            };
            let wanted =
                !disabled && exporter.is_none_or(|name| name.split(',').any(|name| name.trim() == "otlp"));
            own.or_else(|| base.as_ref().map(below)).filter(|_| wanted)
        };
        let metrics = url(lookup, &OTEL_EXPORTER_OTLP_METRICS_ENDPOINT)?;
        let traces = url(lookup, &OTEL_EXPORTER_OTLP_TRACES_ENDPOINT)?;
        let name = lookup.text(&OTEL_SERVICE_NAME)?.unwrap_or("volmover");
        let mut resource = vec![("service.name".to_owned(), name.to_owned())];
        resource.extend(lookup.commas(&OTEL_RESOURCE_ATTRIBUTES)?.iter().filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let value = String::from_utf8_lossy(&decoded(value.trim())).into_owned();
            (name.trim() != "service.name").then(|| (name.trim().to_owned(), value))
        }));
        let headers = lookup.secret(&OTEL_EXPORTER_OTLP_HEADERS).map(|secret| secret.text());
        let headers = headers.iter().flat_map(|text| text.split(',')).filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            Some((name.trim().to_owned(), Secret::new(decoded(value.trim()))))
        });
        Ok(Self {
            metrics: place(metrics, lookup.text(&OTEL_METRICS_EXPORTER)?, "v1/metrics"),
            traces: place(traces, lookup.text(&OTEL_TRACES_EXPORTER)?, "v1/traces"),
            headers: headers.collect(),
            resource,
            json: protocol == Some("http/json"),
            foreign_protocol: None,
        })
    }

    /// Whether anything is to be sent, or would be.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.foreign_protocol.is_some() || self.urls().next().is_some()
    }

    /// Where anything goes.
    pub fn urls(&self) -> impl Iterator<Item = &Secret> + Clone {
        [&self.metrics, &self.traces].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use std::ffi::OsString;

    use super::super::env::Values;
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Otlp {
        let values = pairs.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value)));
        Otlp::parse(&Lookup::new(Values::new(), values.collect()).unwrap()).unwrap()
    }

    fn shown(secret: Option<&Secret>) -> String {
        secret.map_or(String::new(), |secret| secret.text().to_string())
    }

    #[test]
    fn endpoints_headers_and_resource_follow_the_standard() {
        let otlp = parse(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel:4318/"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/in"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20abc=, x = y%"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=b,service.name=no,c=d%2Ce"),
        ]);
        assert_eq!(shown(otlp.metrics.as_ref()), "http://otel:4318/v1/metrics");
        assert_eq!(shown(otlp.traces.as_ref()), "https://traces/in");
        let headers: Vec<_> =
            otlp.headers.iter().map(|(name, value)| (name.as_str(), value.text().to_string())).collect();
        assert_eq!(headers, [("Authorization", "Basic abc=".to_owned()), ("x", "y%".to_owned())]);
        let resource = [("service.name", "volmover"), ("a", "b"), ("c", "d,e")];
        assert_eq!(otlp.resource, resource.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!((otlp.foreign_protocol, otlp.json), (None, true));
        assert!(!parse(&[("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")]).json);
    }

    #[test]
    fn what_is_turned_off_is_not_sent() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://otel");
        assert!(!parse(&[]).is_set());
        assert!(!parse(&[endpoint, ("OTEL_SDK_DISABLED", "true")]).is_set());
        let traces =
            parse(&[endpoint, ("OTEL_METRICS_EXPORTER", "none"), ("OTEL_TRACES_EXPORTER", "console,otlp")]);
        assert_eq!(
            (shown(traces.metrics.as_ref()), shown(traces.traces.as_ref())),
            (String::new(), "http://otel/v1/traces".to_owned())
        );
    }

    #[test]
    fn another_protocol_is_told_of_and_fails_nothing() {
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let otlp = parse(&[grpc, ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317")]);
        assert_eq!((otlp.foreign_protocol.as_deref(), otlp.is_set()), (Some("grpc"), true));
        assert!(!parse(&[grpc]).is_set(), "nothing was to be sent");
    }
}
