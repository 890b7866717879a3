//! Every store passes one contract: memory and local here, with their decorators.
//!
//! The cases stand in `contract/mod.rs`; a test here only makes a store and hands it over.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stdout)]

mod contract;

use volmover::backend::memory::MemoryBackend;

#[test]
fn memory() {
    contract::contract(&MemoryBackend::new());
    contract::contract_missing(&MemoryBackend::missing());
}
