//! Identity, handshake, AEAD, session keys and replay window of farlan.
