//! A gateway on the loopback that speaks PCP and NAT-PMP, as well or as badly as a test wants.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use farlan_tap::Gateway;
use tokio::{net::UdpSocket, task::JoinHandle};

/// What becomes of questions in one protocol.
#[derive(Clone, Debug)]
pub(super) enum Manner {
    /// They are answered.
    Works,
    /// They are not.
    Silent,
    /// With this result code of the protocol.
    Refuses(u8),
    /// With what becomes of the right answer.
    Bends(Bend),
}

/// Makes something else of an answer.
pub(super) type Bend = fn(&mut Vec<u8>);

/// What it is and knows.
#[derive(Debug)]
pub(super) struct State {
    pub(super) pcp: Manner,
    pub(super) natpmp: Manner,
    pub(super) outside: Ipv4Addr,
    /// Seconds it grants at most.
    pub(super) grants: u32,
    /// Added to the port outside.
    pub(super) shift: u16,
    pub(super) started: Instant,
    /// Ports outside by protocol number and port inside.
    pub(super) mappings: BTreeMap<(u8, u16), u16>,
    /// Questions for mappings, by version of the protocol.
    pub(super) asked: BTreeMap<u8, usize>,
}

pub(super) struct Fake {
    state: Arc<Mutex<State>>,
    address: Ipv4Addr,
    task: JoinHandle<()>,
}

impl Fake {
    /// Each test has an address of its own, since the port is fixed.
    pub(super) async fn start(last: u8) -> Self {
        let address = Ipv4Addr::new(127, 53, 51, last);
        let socket = UdpSocket::bind((address, crab_nat::GATEWAY_PORT)).await.unwrap();
        let state = Arc::new(Mutex::new(State {
            pcp: Manner::Works,
            natpmp: Manner::Works,
            outside: Ipv4Addr::new(203, 0, 113, 7),
            grants: 7200,
            shift: 0,
            // As if it ran for a while.
            started: Instant::now() - std::time::Duration::from_secs(1000),
            mappings: BTreeMap::new(),
            asked: BTreeMap::new(),
        }));
        let task = tokio::spawn(serve(socket, Arc::clone(&state)));
        Self { state, address, task }
    }

    pub(super) fn gateway(&self) -> Gateway {
        Gateway {
            address: self.address,
            own: Ipv4Addr::LOCALHOST,
            prefix: 8,
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Its power was cut.
    pub(super) fn restart(&self) {
        let mut state = self.state();
        state.started = Instant::now();
        state.mappings.clear();
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, state: Arc<Mutex<State>>) {
    let mut buffer = [0; 1500];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let answer = state.lock().unwrap().answer(&buffer[..length]);
        if let Some(answer) = answer {
            socket.send_to(&answer, from).await.unwrap();
        }
    }
}

impl State {
    fn epoch(&self) -> [u8; 4] {
        u32::try_from(self.started.elapsed().as_secs()).unwrap().to_be_bytes()
    }

    fn answer(&mut self, question: &[u8]) -> Option<Vec<u8>> {
        let (version, operation) = (question[0], question[1]);
        let manner = if version == 2 { &self.pcp } else { &self.natpmp }.clone();
        if matches!(manner, Manner::Silent) {
            return None;
        }
        let code = match manner {
            Manner::Refuses(code) => code,
            _ => 0,
        };
        let mut answer = match (version, operation) {
            // RFC 6887 §7.2, §11.1.
            (2, _) => {
                let number = |at: usize| u16::from_be_bytes([question[at], question[at + 1]]);
                let lifetime = u32::from_be_bytes(question[4..8].try_into().unwrap());
                let (external, granted) = self.map(2, question[36], number(40), number(42), lifetime, code);
                let mut answer = vec![2, 0x81, 0, code];
                answer.extend(granted.to_be_bytes());
                answer.extend(self.epoch());
                answer.extend([0; 12]);
                answer.extend(&question[24..42]);
                answer.extend(external.to_be_bytes());
                answer.extend(self.outside.to_ipv6_mapped().octets());
                answer
            }
            // RFC 6886 §3.2.
            (0, 0) => {
                let mut answer = vec![0, 0x80, 0, code];
                answer.extend(self.epoch());
                answer.extend(self.outside.octets());
                answer
            }
            // RFC 6886 §3.3.
            _ => {
                let number = |at: usize| u16::from_be_bytes([question[at], question[at + 1]]);
                let lifetime = u32::from_be_bytes(question[8..12].try_into().unwrap());
                let protocol = if operation == 1 { 17 } else { 6 };
                let (external, granted) = self.map(0, protocol, number(4), number(6), lifetime, code);
                let mut answer = vec![0, 0x80 | operation, 0, code];
                answer.extend(self.epoch());
                answer.extend(&question[4..6]);
                answer.extend(external.to_be_bytes());
                answer.extend(granted.to_be_bytes());
                answer
            }
        };
        if let Manner::Bends(bend) = manner {
            bend(&mut answer);
        }
        Some(answer)
    }

    /// The port outside and the time granted.
    fn map(&mut self, version: u8, protocol: u8, inside: u16, wished: u16, lifetime: u32, code: u8) -> (u16, u32) {
        *self.asked.entry(version).or_default() += 1;
        if code != 0 {
            return (0, 30);
        }
        if lifetime == 0 {
            self.mappings.remove(&(protocol, inside));
            return (0, 0);
        }
        let external = if wished == 0 { inside } else { wished };
        let external = *self.mappings.entry((protocol, inside)).or_insert(external + self.shift);
        (external, lifetime.min(self.grants))
    }
}
