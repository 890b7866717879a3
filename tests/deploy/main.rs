//! deploy/: every file is parsed and checked, every script, task and job of it is run.
//!
//! Manifests are rendered by the real `kustomize`, filled in as Flux does, and held against a table of the
//! fields that VolSync's CRDs have; tasks run by the real `task` on a model of a cluster behind a `kubectl`
//! that records; what containers would do is done by the built binary. The programs come from `.ci/peers`.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::doc_markdown, reason = "the names of Kubernetes' objects")]
#![allow(clippy::format_collect, reason = "short texts")]
#![allow(clippy::literal_string_with_formatting_args, reason = "what Flux fills in")]

mod cluster;
mod compose;
mod examples;
mod jobs;
mod jsonpath;
mod lint;
mod manifests;
#[path = "../interop/place.rs"]
mod place;
mod preflight;
mod readme;
mod release;
mod rendered;
#[path = "../support/s3.rs"]
mod s3;
mod schema;
mod smoke;
#[path = "../support/mod.rs"]
mod support;
mod tasks;
mod yaml;
