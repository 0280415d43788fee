//! The farlan node: the shell around the engine, the daemon, its API and its command line.
