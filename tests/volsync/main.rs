//! The mover as VolSync's operator runs it: its Jobs, their container, its reading of the log.
//!
//! `job` makes the container of a Job as the operator does, `way` runs it, `log` reads what it printed as the
//! operator does. With a Docker Engine that answers, every mover runs in a container with the Job's security
//! context: the image that `VOLMOVER_IMAGE` names, else one made of the program under test and its libraries.
//! Without an engine it runs by `chroot` in a root that is made as the container's is, and where that may not be done
//! either as a plain process under the same user and capabilities; a line says so, and `VOLMOVER_REQUIRE_PEERS=1`
//! makes it a failure.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::doc_markdown, reason = "the names of Kubernetes' objects")]
#![allow(clippy::format_collect, reason = "short texts")]
#![allow(unreachable_pub, reason = "modules of a binary")]

mod cache;
mod compose;
mod dns;
mod docker_run;
mod image;
mod job;
mod lines;
mod log;
mod made;
mod maintenance;
mod medium;
mod minio;
mod original;
mod peers;
mod quirks;
mod rights;
mod rooted;
mod scenarios;
mod secrets;
mod selection;
mod shared;
mod signals;
#[path = "../support/mod.rs"]
mod support;
#[path = "../../examples/cheap_key/swap.rs"]
mod swap;
mod switch;
mod tenant;
#[path = "../support/tls.rs"]
mod tls;
mod way;
