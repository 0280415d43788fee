//! Addresses that others put on a card.

use std::{net::Ipv4Addr, os::unix::net::UnixDatagram, time::Duration};

use super::Met;

/// How long a change may take to become known, on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

const BY_HAND: Ipv4Addr = Ipv4Addr::new(192, 168, 7, 1);

/// Who answers an ARP request for [`BY_HAND`] that the machine of a card with this MAC sends; nobody within 0.2 s is none.
fn asked(card: &UnixDatagram, mac: [u8; 6]) -> Option<[u8; 6]> {
    let head: [u8; 10] = [8, 6, 0, 1, 8, 0, 6, 4, 0, 1];
    let request = [
        &[0xff; 6],
        &mac[..],
        &head,
        &mac,
        &[192, 168, 7, 9],
        &[0; 6],
        &BY_HAND.octets(),
    ]
    .concat();
    card.send(&request).unwrap();
    card.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut room = [0; 2048];
    loop {
        let length = card.recv(&mut room).ok()?;
        let frame = &room[..length];
        if frame.len() == 42 && frame[12..14] == [8, 6] && frame[21] == 2 && frame[28..32] == BY_HAND.octets() {
            return frame[22..28].try_into().ok();
        }
    }
}

#[tokio::test]
async fn an_address_set_by_hand_is_answered_for_by_the_other_node() {
    let met = Met::start().await;
    let macs = [0, 1].map(|who| met.cards[who].lock().made[0].mac);
    let far = met.cards[1].lock().far_ends[0].try_clone().unwrap();
    let is_answered = async |wanted: Option<[u8; 6]>| {
        let end = tokio::time::Instant::now() + LIMIT;
        loop {
            let far = far.try_clone().unwrap();
            let answer = tokio::task::spawn_blocking(move || asked(&far, macs[1])).await.unwrap();
            if answer == wanted {
                return;
            }
            assert!(tokio::time::Instant::now() < end, "{answer:?}, not {wanted:?}");
        }
    };
    is_answered(None).await;
    let change = |present: bool| {
        let mut fake = met.cards[0].lock();
        let addresses = fake.addresses.entry(1).or_default();
        if present {
            addresses.push((BY_HAND, 24));
        } else {
            addresses.retain(|(address, _)| *address != BY_HAND);
        }
        fake.watchers[0].send(b"changed").unwrap();
    };
    change(true);
    is_answered(Some(macs[0])).await;
    change(false);
    is_answered(None).await;
    met.stop().await;
}
