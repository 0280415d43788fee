//! What must hold of `farlan-spreading` whatever it is given.

use std::time::Duration;

use farlan_crypto::NodeId;
use farlan_spreading::{
    Allowances, Arrival, ChannelOf, Form, MAX_TAGS, Message, Neighbours, Spreading, Time, Verifier, salt_of, tag_of,
};

/// Everybody may and wants everything.
struct Open;

impl Neighbours for Open {
    fn rtt(&self, _: &NodeId) -> Option<Duration> {
        None
    }

    fn is_relayed(&self, _: &NodeId) -> bool {
        false
    }

    fn wants(&self, _: &NodeId, _: &ChannelOf) -> bool {
        true
    }

    fn admits(&self, _: &NodeId, _: &[u8; 32], _: &[u8]) -> bool {
        true
    }
}

impl Verifier for Open {
    fn node_id(&self, key: &[u8; 32]) -> Option<NodeId> {
        Some(NodeId::of_key(key))
    }

    fn verify(&self, _: &[u8; 32], _: &[u8], _: &[u8; 64]) -> bool {
        true
    }
}

/// Input: a copy of a broadcast, from its origin if its last byte is even, from another otherwise. A node with ten contacts takes
/// it, and its signature for good.
pub(crate) fn message(input: &[u8]) {
    let Ok(message) = Message::parse(input) else {
        return;
    };
    let (level, budget, tags) = (message.level(), message.budget(), message.tags().count());
    assert!((1..=3).contains(&level) && (level < 3 || budget == 0));
    assert!(tags <= if budget > 0 { MAX_TAGS } else { 0 });
    assert_eq!(message.right().is_some(), budget > 0);
    let (forwarders, _) = message.right().unwrap_or_default();
    assert!(usize::from(forwarders) <= tags.min(64));
    let right = if budget > 0 { 17 } else { 0 };
    assert_eq!(input.len(), 3 + 2 * tags + right + 67 + message.frame().len() + 64);
    assert!(message.channel().group.is_group());

    let node = |number: u8| NodeId::from_bytes([number; 16]);
    let now = Time::ZERO + Duration::from_secs(1000);
    let mut own = Spreading::new(message.network(), node(0));
    for number in 1..=10 {
        own.contacts_mut().sent(now, &node(number));
        own.contacts_mut().received(now, &node(number));
    }
    let origin = NodeId::of_key(&message.key());
    let straight = input.last().is_some_and(|last| last % 2 == 0);
    let from = if straight { origin } else { node(1) };
    let mut allowances = Allowances::new();
    let mut arrive =
        |own: &mut Spreading| own.arrive(now, &from, input, Some(message.time()), &Open, &Open, &mut allowances);
    let Arrival::Check(pending) = arrive(&mut own) else {
        panic!("it is fresh and admitted");
    };
    let again = arrive(&mut own);
    assert!(
        matches!(again, Arrival::Check(_)),
        "nothing is known before it is found genuine"
    );
    let accepted = own.verified(now, pending, true, &Open, &mut Allowances::new());
    assert_eq!(accepted.ack, Some(message.id()));
    assert_eq!(accepted.deliver.unwrap().frame(), message.frame());
    let own_tag = tag_of(salt_of(&message.key(), message.time()), &from);
    let is_named = message.tags().take(forwarders.into()).any(|tag| tag == own_tag);
    let most = match level {
        1 if straight => 64,
        1 | 2 if is_named => 8,
        _ => 0,
    };
    let mut caused = 0;
    for copy in &accepted.copies {
        assert!(copy.to != origin && copy.to != from && copy.to != node(0));
        let Form::Spread(spread) = &copy.form else {
            panic!("only an origin sends direct copies");
        };
        let mut written = Vec::new();
        spread.write(&mut written);
        assert_eq!(written.len(), spread.length());
        let read = Message::parse(&written).unwrap();
        assert_eq!((read.id(), read.budget()), (message.id(), spread.budget()));
        assert_eq!(read.level(), if level == 1 && straight { 2 } else { 3 });
        assert!(read.budget() <= 8);
        caused += 1 + usize::from(read.budget());
    }
    assert!(caused <= usize::from(budget.min(message.ceiling()).min(most)));
    assert!(matches!(arrive(&mut own), Arrival::Known { id } if id == message.id()));
}
