//! x
pub mod chunk;
