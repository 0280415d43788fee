//! Broadcasts of many members: whom each reached, how often, and how soon.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::SockRef;

use super::command::wait_for;
use super::crowd::{Crowd, CrowdMember};
use super::games::unbound;
use super::sys;

/// Where they are sent to, on every card.
const PORT: u16 = 7100;

/// Broadcasts of one member in a second, at the most.
const MOST_OF_ONE: f64 = 45.0;

/// Copies of broadcasts that arrive in a second, at all members together: what two busy processors do with ease.
const MOST_COPIES: f64 = 3_000.0;

/// How long is waited for the last copies: a lost one is repeated for 5 s.
const SETTLE: Duration = Duration::from_secs(12);

/// How long it may take until everybody hears everybody, at least and for each member.
const WARM_LIMIT: Duration = Duration::from_secs(60);
const WARM_EACH: Duration = Duration::from_secs(4);

/// The pause between two members' first broadcasts for each member that is to hear them: a first one costs a handshake with each.
const HANDSHAKE: Duration = Duration::from_millis(5);

/// A receiver that gets no processor for a while is not to be mistaken for a network that loses.
const BUFFER: usize = 4 << 20;

const TICK: Duration = Duration::from_millis(100);

/// The four bytes that begin each.
const MAGIC: [u8; 4] = *b"fl-b";

/// One broadcast: the round of tests, who sent it, and its number.
type Id = (u32, u16, u32);

/// A socket at every member that keeps account of what comes.
#[derive(Debug)]
pub struct Listeners {
    senders: Vec<UdpSocket>,
    heard: Vec<Arc<Mutex<BTreeMap<Id, u32>>>>,
    round: u32,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What became of broadcasts.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// How many were sent.
    pub sent: usize,
    /// Pairs of a broadcast and a member that was to hear it.
    pub pairs: usize,
    /// Pairs of which nothing came.
    pub missing: usize,
    /// Pairs that came more than once.
    pub doubled: usize,
    /// Some of the missing: who sent, its number, who did not hear it.
    pub examples: Vec<(u16, u32, usize)>,
    /// How long the sending took.
    pub took: Duration,
}

impl Account {
    /// The share of pairs that came.
    pub fn share(&self) -> f64 {
        1.0 - self.missing as f64 / self.pairs.max(1) as f64
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            sent,
            pairs,
            missing,
            doubled,
            examples,
            took,
        } = self;
        let share = self.share() * 100.0;
        let took = took.as_secs_f64();
        write!(
            f,
            "{sent} broadcasts in {took:.1} s, {pairs} pairs: {missing} missing, {doubled} doubled, {share:.3} % heard"
        )?;
        if !examples.is_empty() {
            write!(f, "; missing (from, number, to): {examples:?}")?;
        }
        Ok(())
    }
}

/// What a flood did.
#[derive(Clone, Debug)]
pub struct Flood {
    /// Broadcasts that its sender's card took.
    pub sent: u32,
    /// How long it lasted.
    pub took: Duration,
    /// How many each other member's card got.
    pub got: Vec<usize>,
}

impl Listeners {
    /// Opens the sockets.
    ///
    /// # Errors
    /// A kernel refuses one.
    pub fn start(members: &[CrowdMember]) -> Result<Self> {
        let ended = Arc::new(AtomicBool::new(false));
        let (mut senders, mut heard, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        for (own, member) in members.iter().enumerate() {
            senders.push(at_card(member)?);
            let socket = member.host().inside(|| unbound(PORT, None))??;
            sys::set_receive_buffer(&socket, BUFFER)?;
            socket.set_read_timeout(Some(TICK))?;
            let table = Arc::new(Mutex::new(BTreeMap::new()));
            heard.push(Arc::clone(&table));
            let ended = Arc::clone(&ended);
            threads.push(thread::spawn(move || listen(&socket, own, &table, &ended)));
        }
        let mut listeners = Self {
            senders,
            heard,
            round: 0,
            ended,
            threads,
        };
        listeners.warm()?;
        Ok(listeners)
    }

    /// Broadcasts until everybody has heard everybody, one member after the other: sessions are made when they are wanted.
    fn warm(&mut self) -> Result<()> {
        self.round += 1;
        let count = u32::try_from(self.senders.len())?;
        let (mut due, mut sent) = (Instant::now(), 0);
        wait_for("everybody to hear everybody", WARM_LIMIT + WARM_EACH * count, || {
            if Instant::now() >= due {
                due = Instant::now() + HANDSHAKE * count;
                self.send((sent % count) as usize, sent / count)?;
                sent += 1;
            }
            ensure!(sent >= count, "not all have spoken");
            let missing = self.deaf_pairs();
            ensure!(missing.is_empty(), "(from, to): {missing:?}");
            Ok(Some(()))
        })
    }

    fn deaf_pairs(&self) -> Vec<(usize, usize)> {
        let count = self.senders.len();
        let pairs = (0..count).flat_map(|to| (0..count).map(move |from| (from, to)));
        let heard: Vec<Vec<bool>> = self
            .heard
            .iter()
            .map(|table| {
                let mut of = vec![false; count];
                for &(round, from, _) in lock(table).keys() {
                    if round == self.round
                        && let Some(of) = of.get_mut(usize::from(from))
                    {
                        *of = true;
                    }
                }
                of
            })
            .collect();
        pairs
            .filter(|(from, to)| from != to && !heard[*to][*from])
            .take(10)
            .collect()
    }

    /// Sends `total` broadcasts, each member in turn, at a pace that leaves the processors room, and keeps account.
    ///
    /// # Errors
    /// A socket refuses to send.
    pub fn exchange(&mut self, total: usize) -> Result<Account> {
        self.round += 1;
        let count = self.senders.len();
        let pace = (MOST_OF_ONE * count as f64).min(MOST_COPIES / (count - 1) as f64);
        let start = Instant::now();
        for sent in 0..total {
            let due = start + Duration::from_secs_f64(sent as f64 / pace);
            thread::sleep(due.saturating_duration_since(Instant::now()));
            self.send(sent % count, u32::try_from(sent / count)?)?;
        }
        let took = start.elapsed();
        let end = Instant::now() + SETTLE;
        while self.account(total).missing > 0 && Instant::now() < end {
            thread::sleep(TICK);
        }
        // Whatever comes twice comes soon.
        thread::sleep(Duration::from_secs(1));
        Ok(Account {
            took,
            ..self.account(total)
        })
    }

    fn account(&self, total: usize) -> Account {
        let count = self.senders.len();
        let mut account = Account {
            sent: total,
            pairs: total * (count - 1),
            ..Account::default()
        };
        for (to, table) in self.heard.iter().enumerate() {
            let table = lock(table);
            for sent in 0..total {
                let (from, number) = ((sent % count) as u16, (sent / count) as u32);
                if usize::from(from) == to {
                    continue;
                }
                match table.get(&(self.round, from, number)) {
                    None => {
                        account.missing += 1;
                        if account.examples.len() < 10 {
                            account.examples.push((from, number, to));
                        }
                    }
                    Some(1) => {}
                    Some(_) => account.doubled += 1,
                }
            }
        }
        account
    }

    /// Has one member broadcast `rate` times a second for so long.
    ///
    /// # Errors
    /// The socket refuses to send.
    pub fn flood(&mut self, from: usize, rate: u32, time: Duration) -> Result<Flood> {
        self.round += 1;
        let start = Instant::now();
        let mut sent = 0;
        while start.elapsed() < time {
            let due = start.elapsed().as_secs_f64() * f64::from(rate);
            while f64::from(sent) < due {
                self.send(from, sent)?;
                sent += 1;
            }
            thread::sleep(Duration::from_millis(1));
        }
        let others = self.heard.iter().enumerate().filter(|(number, _)| *number != from);
        let round = self.round;
        let got = others.map(|(_, table)| {
            let table = lock(table);
            let copies = table.iter().filter(|((of, _, _), _)| *of == round);
            copies.map(|(_, times)| *times as usize).sum()
        });
        Ok(Flood {
            sent,
            took: start.elapsed(),
            got: got.collect(),
        })
    }

    fn send(&self, from: usize, number: u32) -> Result<()> {
        let socket = self.senders.get(from).context("no such member")?;
        let payload = [
            &MAGIC[..],
            &self.round.to_be_bytes(),
            &u16::try_from(from)?.to_be_bytes(),
            &number.to_be_bytes(),
        ]
        .concat();
        socket.send_to(&payload, SocketAddr::from((Ipv4Addr::BROADCAST, PORT)))?;
        Ok(())
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// How soon a newcomer hears who announces itself every 1.5 s, from the moment its `join` has returned.
///
/// # Errors
/// It hears nothing within `limit`, or joining fails.
pub fn newcomer_hears(lab: &mut super::Lab, crowd: &mut Crowd, limit: Duration) -> Result<Duration> {
    const WORDS: &str = "[MOTD]farlan world[/MOTD][AD]25565[/AD]";
    const ANNOUNCED: u16 = 4445;
    let announcing = crowd.members.first().context("a crowd of nobody")?;
    let (source, socket) = (announcing.ipv4()?, at_card(announcing)?);
    let to = SocketAddr::from((Ipv4Addr::BROADCAST, ANNOUNCED));
    let _announcer = super::games::Announcer::start(socket, WORDS.into(), to, super::games::MINECRAFT_PACE);
    let newcomer = crowd.newcomer(lab)?;
    let listener = newcomer.namespace().inside(|| unbound(ANNOUNCED, None))??;
    newcomer.join(&crowd.link)?;
    let found = super::games::hear(&listener, WORDS, limit)?;
    ensure!(found.source.ip() == source, "it came from {}", found.source);
    Ok(found.took)
}

/// A socket whose broadcasts leave by farlan's card.
fn at_card(member: &CrowdMember) -> Result<UdpSocket> {
    let interface = member.network.interface.as_bytes();
    let socket = member.host().inside(|| unbound(0, None))??;
    SockRef::from(&socket).bind_device(Some(interface))?;
    Ok(socket)
}

fn listen(socket: &UdpSocket, own: usize, table: &Mutex<BTreeMap<Id, u32>>, ended: &AtomicBool) {
    let mut room = [0; 64];
    while !ended.load(Ordering::Relaxed) {
        let Ok((length, _)) = socket.recv_from(&mut room) else {
            continue;
        };
        // What a machine broadcasts, it hears itself.
        if let Some(id) = read(&room[..length])
            && usize::from(id.1) != own
        {
            *lock(table).entry(id).or_insert(0) += 1;
        }
    }
}

fn read(payload: &[u8]) -> Option<Id> {
    let (magic, rest) = payload.split_first_chunk::<4>()?;
    let (round, rest) = rest.split_first_chunk::<4>()?;
    let (from, number) = rest.split_first_chunk::<2>()?;
    let number = number.try_into().ok()?;
    (*magic == MAGIC).then_some((
        u32::from_be_bytes(*round),
        u16::from_be_bytes(*from),
        u32::from_be_bytes(number),
    ))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
