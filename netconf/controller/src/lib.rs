//! Controllers.
#![forbid(unsafe_code)]
pub mod store;
pub use store::*;
