//! Scenarios: a few whole engines in one process and in virtual time, each test a rule that no single module keeps alone.

mod amplification;
mod batches;
mod bent;
mod caps;
mod directory;
mod eavesdropper;
mod ethernet;
mod gate;
mod handshakes;
mod hijack;
mod lab;
mod limits;
mod memory;
mod networks;
mod offloads;
mod paths;
mod reach;
mod replays;
mod stranger;
mod strangers;
mod supernodes;
mod switch;
mod twins;
mod vectors;
mod versions;
