//! A steady stream of pings, with an account of each: what was lost, doubled, overtaken, and how long each took.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::Socket;

use super::command::wait_for;
use super::namespace::Namespace;
use super::ping::{answer_sequence, echo_request, echo_socket};

/// How long after the last request its answer is waited for.
const GRACE: Duration = Duration::from_secs(2);

/// Most requests of one stream: sequence numbers have 16 bits.
const MOST: usize = 1 << 16;

static STREAMS: AtomicU16 = AtomicU16::new(1);

/// Pings that are sent at a fixed pace until they are stopped.
#[derive(Debug)]
pub struct EchoStream {
    record: Arc<Mutex<EchoRecord>>,
    stop: Stop,
    thread: JoinHandle<Result<()>>,
    what: String,
}

/// Ends the thread of a stream, of one that is dropped without having been stopped too.
#[derive(Debug)]
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What became of the pings of a stream.
#[derive(Clone, Debug, Default)]
pub struct EchoRecord {
    /// When each request was sent.
    pub sent: Vec<Instant>,
    /// The answers in the order they came, repeated ones too.
    pub answers: Vec<Echo>,
}

/// One answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Echo {
    /// Number of the request, counted from 0.
    pub request: usize,
    /// When it came.
    pub at: Instant,
    /// The round trip.
    pub took: Duration,
}

impl EchoStream {
    /// Begins to ping `target` from a namespace, every `interval`.
    ///
    /// # Errors
    /// The kernel refuses the socket.
    pub fn start(from: &Namespace, target: IpAddr, interval: Duration) -> Result<Self> {
        let socket = from.inside(|| echo_socket(target))??;
        let record = Arc::new(Mutex::new(EchoRecord::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let (record, stop) = (Arc::clone(&record), Arc::clone(&stop));
            move || run(&socket, target, interval, &record, &stop)
        });
        Ok(Self {
            record,
            stop: Stop(stop),
            thread,
            what: format!("pings to {target}"),
        })
    }

    /// What has happened so far.
    pub fn record(&self) -> EchoRecord {
        lock(&self.record).clone()
    }

    /// Waits until `count` more requests have been sent.
    ///
    /// # Errors
    /// They take much longer than they should.
    pub fn wait_sent(&self, count: usize, limit: Duration) -> Result<()> {
        let before = lock(&self.record).sent.len();
        wait_for(&format!("{count} {}", self.what), limit, || {
            ensure!(!self.thread.is_finished(), "the {} have ended", self.what);
            Ok((lock(&self.record).sent.len() >= before + count).then_some(()))
        })
    }

    /// Waits until the last `count` answers all took a time that `fits`, not counting those to requests sent before the
    /// call.
    ///
    /// # Errors
    /// They do not within `limit`.
    pub fn wait_until(&self, count: usize, limit: Duration, fits: impl Fn(Duration) -> bool) -> Result<()> {
        let first = lock(&self.record).sent.len();
        wait_for(&format!("{count} fitting {}", self.what), limit, || {
            ensure!(!self.thread.is_finished(), "the {} have ended", self.what);
            let record = lock(&self.record);
            let new = record.answers.iter().rev().filter(|answer| answer.request >= first);
            Ok((new.take(count).filter(|answer| fits(answer.took)).count() == count).then_some(()))
        })
    }

    /// Stops sending, waits for the last answers and returns the account.
    ///
    /// # Errors
    /// The stream had ended early.
    pub fn stop(self) -> Result<EchoRecord> {
        drop(self.stop);
        let outcome = self
            .thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        outcome.with_context(|| self.what.clone())?;
        Ok(lock(&self.record).clone())
    }
}

impl EchoRecord {
    /// The requests without an answer.
    pub fn lost(&self) -> Vec<usize> {
        let mut answered = vec![false; self.sent.len()];
        for answer in &self.answers {
            if let Some(answered) = answered.get_mut(answer.request) {
                *answered = true;
            }
        }
        let lost = answered.iter().enumerate().filter(|(_, answered)| !**answered);
        lost.map(|(request, _)| request).collect()
    }

    /// How many answers came besides the first to each request.
    pub fn doubled(&self) -> usize {
        self.answers.len() - (self.sent.len() - self.lost().len())
    }

    /// The answers that came after an answer to a later request.
    pub fn overtaken(&self) -> Vec<Echo> {
        let mut latest = 0;
        let mut overtaken = Vec::new();
        for answer in &self.answers {
            if answer.request < latest {
                overtaken.push(*answer);
            }
            latest = latest.max(answer.request);
        }
        overtaken
    }

    /// The first answer that took a time that `fits`.
    pub fn first(&self, fits: impl Fn(Duration) -> bool) -> Option<Echo> {
        self.answers.iter().find(|answer| fits(answer.took)).copied()
    }

    /// The longest time without an answer between two answers.
    pub fn longest_gap(&self) -> Duration {
        let gaps = self.answers.windows(2).map(|pair| pair[1].at - pair[0].at);
        gaps.max().unwrap_or_default()
    }

    /// The longest gap that ended after `start`, and its end.
    pub fn longest_gap_after(&self, start: Instant) -> Option<(Duration, Instant)> {
        let pairs = self.answers.windows(2).filter(|pair| pair[1].at > start);
        pairs.map(|pair| (pair[1].at - pair[0].at, pair[1].at)).max()
    }

    /// The part about the requests sent from `start` on.
    #[must_use]
    pub fn since(&self, start: Instant) -> Self {
        let first = self.sent.partition_point(|sent| *sent < start);
        let answers = self.answers.iter().filter(|answer| answer.request >= first);
        Self {
            sent: self.sent[first..].to_vec(),
            answers: answers
                .map(|answer| Echo {
                    request: answer.request - first,
                    ..*answer
                })
                .collect(),
        }
    }
}

impl std::fmt::Display for EchoRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} pings: {} lost, {} doubled, {} overtaken, longest gap {:.0} ms",
            self.sent.len(),
            self.lost().len(),
            self.doubled(),
            self.overtaken().len(),
            self.longest_gap().as_secs_f64() * 1000.0
        )
    }
}

fn run(
    socket: &Socket,
    target: IpAddr,
    interval: Duration,
    record: &Mutex<EchoRecord>,
    stop: &AtomicBool,
) -> Result<()> {
    // Streams of one process, and of processes beside it, must not take each other's answers.
    let number = STREAMS.fetch_add(1, Ordering::Relaxed);
    let identifier = (std::process::id() as u16).wrapping_add(number.wrapping_mul(0x1001));
    let identifier = identifier.to_be_bytes();
    let mut next = Instant::now();
    let mut end = None;
    loop {
        let now = Instant::now();
        if end.is_none() && stop.load(Ordering::Relaxed) {
            end = Some(now + GRACE);
        }
        let complete = || lock(record).lost().is_empty();
        if end.is_some_and(|end| now >= end || complete()) {
            return Ok(());
        }
        if end.is_none() && now >= next {
            let request = lock(record).sent.len();
            ensure!(request < MOST, "the stream has run out of sequence numbers");
            lock(record).sent.push(now);
            // What cannot be sent is as good as lost.
            let _ = socket.send_to(
                &echo_request(target, identifier, request as u16),
                &SocketAddr::new(target, 0).into(),
            );
            next += interval;
        }
        let wait = next.saturating_duration_since(Instant::now()).min(interval);
        socket.set_read_timeout(Some(wait.max(Duration::from_micros(100))))?;
        let mut packet = [0_u8; 1500];
        match { socket }.read(&mut packet) {
            Ok(length) => {
                let at = Instant::now();
                let packet = packet.get(..length).unwrap_or_default();
                if let Some(sequence) = answer_sequence(target, packet, identifier) {
                    let request = usize::from(sequence);
                    let mut record = lock(record);
                    if let Some(sent) = record.sent.get(request).copied() {
                        let took = at - sent;
                        record.answers.push(Echo { request, at, took });
                    }
                }
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(error).context("cannot receive echo replies"),
        }
        // After the end there is nothing to wake up for but answers.
        if end.is_some() {
            next = Instant::now() + interval;
        }
    }
}

fn lock(record: &Mutex<EchoRecord>) -> MutexGuard<'_, EchoRecord> {
    record.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_for_every_ping() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let sent: Vec<_> = (0..5).map(|number| start + ms(10) * number).collect();
        let answer = |request: usize, after: u64| Echo {
            request,
            at: start + ms(after),
            took: start + ms(after) - sent[request],
        };
        let answers = vec![
            answer(0, 300),
            answer(2, 170),
            answer(1, 310),
            answer(2, 320),
            answer(4, 520),
        ];
        let record = EchoRecord { sent, answers };
        assert_eq!(record.lost(), [3]);
        assert_eq!(record.doubled(), 1);
        let overtaken: Vec<_> = record.overtaken().iter().map(|answer| answer.request).collect();
        assert_eq!(overtaken, [1]);
        assert_eq!(
            record.first(|took| took < ms(200)).map(|answer| answer.request),
            Some(2)
        );
        assert_eq!(record.longest_gap(), ms(200));
        let gap = record.longest_gap_after(start + ms(200));
        assert_eq!(gap, Some((ms(200), start + ms(520))));
        let later = record.since(start + ms(20));
        assert_eq!((later.sent.len(), later.answers.len(), later.lost()), (3, 3, vec![1]));
    }
}
