//! The farlan protocol as a state machine without input or output.
