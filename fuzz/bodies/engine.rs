//! What must hold of whole engines, whatever others say under genuine keys, on the way, and on their own cards.
//!
//! An input is a plan: each step begins with a byte that says what it is. Where a plan ends in the middle of a step, the
//! rest reads as zeros.
#![allow(dead_code, reason = "each target uses a part")]

#[path = "lab.rs"]
mod lab;
#[path = "steps.rs"]
mod steps;

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use farlan_engine::fuzzing;

use lab::{ALICE, BERTA, Lab, Passing, SUPERNODE};
use steps::{Plan, Step, spoil};

/// Most steps of one plan, and most time that passes in one.
const MOST_STEPS: usize = 80;
const MOST_TIME: Duration = Duration::from_secs(200);

/// What nodes say to each other: frames, control messages and parts of messages under genuine keys; what comes with them
/// spoilt, late or twice; joining and leaving.
pub(crate) fn session(input: &[u8]) -> bool {
    const STEPS: [Step; 24] = [
        Step::Control,
        Step::Control,
        Step::Control,
        Step::Control,
        Step::Frame,
        Step::Frame,
        Step::Frame,
        Step::Frame,
        Step::Parts,
        Step::Parts,
        Step::Raw,
        Step::Card,
        Step::Spoilt,
        Step::Spoilt,
        Step::Again,
        Step::Unsealed,
        Step::Wrapped,
        Step::Local,
        Step::Local,
        Step::Lossy,
        Step::Time,
        Step::Time,
        Step::Control,
        Step::Frame,
    ];
    play(input, &STEPS)
}

/// What a supernode is told by its nodes, and what it tells them: registrations, look-ups, lists, relayed datagrams.
pub(crate) fn supernode(input: &[u8]) -> bool {
    const STEPS: [Step; 16] = [
        Step::Directory,
        Step::Directory,
        Step::Directory,
        Step::Directory,
        Step::Directory,
        Step::Directory,
        Step::Directory,
        Step::Raw,
        Step::Wrapped,
        Step::Wrapped,
        Step::Unsealed,
        Step::Again,
        Step::Spoilt,
        Step::Local,
        Step::Time,
        Step::Time,
    ];
    play(input, &STEPS)
}

/// What comes from the cards of two nodes: frames and super-frames of any kind.
pub(crate) fn card(input: &[u8]) -> bool {
    const STEPS: [Step; 12] = [
        Step::Card,
        Step::Card,
        Step::Card,
        Step::Card,
        Step::Card,
        Step::Card,
        Step::Card,
        Step::Control,
        Step::Frame,
        Step::Local,
        Step::Time,
        Step::Lossy,
    ];
    play(input, &STEPS)
}

/// Plays a plan of these steps. Returns whether something got past authentication.
fn play(input: &[u8], steps: &[Step]) -> bool {
    let mut plan = Plan::new(input);
    let setting = plan.byte();
    let lossy = RefCell::new([false; 4]);
    // The ways between the hosts, by the last byte of their addresses.
    let wire = |passing: &Passing, _: &mut Vec<u8>| {
        let last = |address: &std::net::SocketAddr| match address.ip() {
            std::net::IpAddr::V4(ip) => usize::from(ip.octets()[3]),
            std::net::IpAddr::V6(_) => 0,
        };
        !lossy.borrow()[(last(&passing.from) + last(&passing.to)) % 4]
    };
    let mut lab = Lab::new(setting & 1 != 0, Box::new(wire));
    lab.open = setting & 2 != 0;
    lab.meet();

    let mut past = 0;
    let mut count = 0;
    let end = lab.now + MOST_TIME;
    while !plan.is_empty() && count < MOST_STEPS && lab.now < end {
        count += 1;
        let step = steps[usize::from(plan.byte()) % steps.len()];
        if let Step::Lossy = step {
            let which = usize::from(plan.byte());
            let mut lossy = lossy.borrow_mut();
            lossy[which % 4] = which & 4 != 0;
            continue;
        }
        past += u64::from(steps::take(&mut lab, step, &mut plan));
        lab.judge_sessions();
    }
    lab.run(Duration::from_millis(20));
    lab.judge_sessions();
    lab.judge_counters();
    past > 0
}

/// Two nodes and their supernode shake hands, while the plan spoils, delays, doubles and mixes up what they send. A
/// session stands only where the messages came as they were made. Returns whether one was spoilt.
pub(crate) fn handshake(input: &[u8]) -> bool {
    let plan = RefCell::new(Plan::new(input));
    let settings = plan.borrow_mut().byte();
    let earlier: RefCell<Vec<Vec<u8>>> = RefCell::default();
    let spoilt = Cell::new(false);
    let wire = |passing: &Passing, bytes: &mut Vec<u8>| {
        let (mut plan, mut earlier) = (plan.borrow_mut(), earlier.borrow_mut());
        let is_handshake = fuzzing::is_handshake(bytes);
        if !is_handshake && settings & 1 == 0 {
            return true;
        }
        let genuine = bytes.clone();
        let arrives = spoil(&mut plan, bytes, &earlier);
        if is_handshake {
            // What is spoilt is seldom looked at otherwise.
            if genuine != *bytes && settings & 64 != 0 {
                lab::let_pass(passing, bytes);
            }
            spoilt.set(spoilt.get() || genuine != *bytes);
            earlier.push(genuine);
        }
        arrives
    };
    let mut lab = Lab::new(false, Box::new(wire));
    lab.open = settings & 2 != 0;
    let node = [SUPERNODE, ALICE, BERTA][usize::from(settings >> 2) % 3];
    for place in [ALICE, BERTA] {
        lab.join(place, lab::FRIENDS);
    }
    lab.run(Duration::from_millis(100));
    lab.judge_sessions();
    lab.ping(ALICE, BERTA);
    if settings & 16 != 0 {
        lab.ping(BERTA, ALICE);
    }
    for _ in 0..4 {
        lab.run(Duration::from_millis(700));
        lab.judge_sessions();
        // What was made for one may come to another, at any time.
        let message = earlier.borrow().last().cloned();
        if let Some(message) = message.filter(|_| settings & 32 != 0) {
            let mut message = message;
            spoil(&mut plan.borrow_mut(), &mut message, &earlier.borrow());
            let source = lab.hosts[(node + 1) % 3].address;
            lab.deliver(node, source, &message);
            lab.settle();
            lab.judge_sessions();
        }
    }
    spoilt.get()
}
