//! The TAP device of farlan: creation, addresses, MTU, link state and routes.
