//! Other people's judgement on the primitives: published vectors, and what libsodium makes of the same inputs.

mod composition;
mod libsodium;
mod wycheproof;
