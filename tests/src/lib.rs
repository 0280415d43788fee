//! The simulator and the end-to-end tests of farlan.

pub mod ns;
pub mod sim;
