//! An echo, and the one who asks it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::ns::summary::Summary;

/// Time between two questions.
const INTERVAL: Duration = Duration::from_millis(1);

/// How long answers are awaited after the last question.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Bytes of a question: its number, and what fills it up to a ping's size.
const QUESTION: usize = 56;

pub(super) fn echo(address: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(address)?;
    println!("ready");
    let mut packet = [0_u8; 2048];
    loop {
        let (length, from) = socket.recv_from(&mut packet)?;
        socket.send_to(&packet[..length], from)?;
    }
}

pub(super) fn ask(address: SocketAddr, count: u32) -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(address).context("cannot connect")?;
    let last = INTERVAL * count + PATIENCE;
    let start = Instant::now();
    let (questions, answers) = thread::scope(|scope| {
        let listener = scope.spawn(|| listen(&socket, count, start + last));
        let questions = send(&socket, count, start);
        (
            questions,
            listener.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
        )
    });
    let (questions, answers) = (questions?, answers?);
    let trips: Vec<_> = questions
        .iter()
        .zip(&answers)
        .filter_map(|(sent, answered)| Some(answered.as_ref()?.duration_since(*sent).as_secs_f64() * 1e6))
        .collect();
    let summary = Summary::of(&trips).context("no answer at all")?;
    println!(
        "{}",
        serde_json::json!({
            "lost": count as usize - trips.len(),
            "p50": summary.median,
            "p95": summary.p95,
            "p99": summary.p99,
        })
    );
    Ok(())
}

/// Asks, and returns when each question was sent.
fn send(socket: &UdpSocket, count: u32, start: Instant) -> io::Result<Vec<Instant>> {
    let mut sent = Vec::new();
    let mut question = [0_u8; QUESTION];
    for number in 0..count {
        thread::sleep((start + INTERVAL * number).saturating_duration_since(Instant::now()));
        question[..4].copy_from_slice(&number.to_be_bytes());
        sent.push(Instant::now());
        socket.send(&question)?;
    }
    Ok(sent)
}

/// Listens until all answers have come or `deadline` has passed; returns when each came.
fn listen(socket: &UdpSocket, count: u32, deadline: Instant) -> io::Result<Vec<Option<Instant>>> {
    let mut came = vec![None; count as usize];
    let mut missing = count;
    let mut answer = [0_u8; 2048];
    while missing > 0 {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left))?;
        match socket.recv(&mut answer) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
            Err(error) => return Err(error),
        }
        let now = Instant::now();
        let number = u32::from_be_bytes([answer[0], answer[1], answer[2], answer[3]]);
        if let Some(place @ None) = came.get_mut(number as usize) {
            *place = Some(now);
            missing -= 1;
        }
    }
    Ok(came)
}
