//! The simulator and the end-to-end tests of farlan.

pub mod instructions;
pub mod ns;
pub mod sim;
