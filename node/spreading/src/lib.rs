//! Broadcasts in networks too large for copies to all.

#![forbid(unsafe_code)]

mod rates;
mod time;

pub use rates::{Meter, Meters, Rate};
pub use time::Time;
