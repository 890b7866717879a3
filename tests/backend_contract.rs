//! Every store passes one contract: memory and local here, with their decorators.
//!
//! The cases stand in `contract/mod.rs`; a test here only makes a store and hands it over.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

mod contract;

use volmover::backend::local::LocalBackend;
use volmover::backend::memory::MemoryBackend;

#[test]
fn memory() {
    contract::contract(&MemoryBackend::new());
    contract::contract_missing(&MemoryBackend::missing());
}

#[test]
fn local() {
    let folder = tempfile::tempdir().unwrap();
    contract::contract(&LocalBackend::open(folder.path(), 4));
    contract::contract_missing(&LocalBackend::open(&folder.path().join("not/there"), 4));
}
