//! The simulator, the end-to-end tests and the measurements of farlan.

pub mod bench;
pub mod cipher;
pub mod crowd;
pub mod fakes;
pub mod instructions;
pub mod lab;
pub mod ns;
#[cfg(test)]
mod parsers;
pub mod sim;
pub mod social;
#[cfg(test)]
mod threats;
