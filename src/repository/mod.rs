//! The restic repository format, versions 1 and 2.

pub mod id;
pub mod snapshot;
pub mod tree;

pub use id::Id;
