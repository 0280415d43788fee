//! The simulator, the end-to-end tests and the benchmark of farlan.

pub mod bench;
pub mod fakes;
pub mod instructions;
pub mod ns;
#[cfg(test)]
mod parsers;
pub mod sim;
#[cfg(test)]
mod threats;
