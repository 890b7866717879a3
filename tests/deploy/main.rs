//! deploy/: every file is parsed and checked, every script, task and job of it is run.
//!
//! Manifests are rendered by the real `kustomize`, filled in as Flux does, and held against a table of the
//! fields that VolSync's CRDs have; tasks run by the real `task` on a model of a cluster behind a `kubectl`
//! that records; what containers would do is done by the built binary. Alerts and dashboards are asked of a real
//! Prometheus that reads what runs of the binary tell. The programs come from `.ci/peers`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::doc_markdown, reason = "the names of Kubernetes' objects")]
#![allow(clippy::format_collect, reason = "short texts")]
#![allow(clippy::literal_string_with_formatting_args, reason = "what Flux fills in")]

mod cluster;
mod compose;
mod dashboards;
mod examples;
mod firing;
mod jobs;
mod jsonpath;
mod lint;
mod manifests;
#[path = "../interop/place.rs"]
mod place;
mod policies;
mod preflight;
mod readme;
mod recorded;
mod release;
mod rendered;
mod rules;
mod runbook;
#[path = "../support/s3.rs"]
mod s3;
mod schema;
#[path = "../outlets/servers.rs"]
mod servers;
mod settings;
mod smoke;
#[path = "../support/stub.rs"]
mod stub;
#[path = "../support/mod.rs"]
mod support;
mod tasks;
mod yaml;
