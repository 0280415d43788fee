//! Cards of the kernel, joined in this process by cutting what one gives and writing that to the other. Needs root, and
//! makes network namespaces of its own.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsRawFd,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use farlan_tap::{Address, Create};

use super::*;

#[test]
fn a_transfer_arrives_in_super_frames() {
    for family in [Family::V4, Family::V6] {
        on_a_thread(move || {
            let (carried, received) = transfer(family, [true, true], 8_000_000);
            assert!(carried.super_frames > 20, "{carried:?}");
            // What the far kernel counts is what was written to its card.
            assert!(received * 4 < carried.frames, "{received} packets of {carried:?}");
        });
    }
}

#[test]
fn a_transfer_arrives_where_only_one_end_has_offloads() {
    on_a_thread(|| {
        let (carried, received) = transfer(Family::V4, [true, false], 2_000_000);
        assert!(carried.super_frames > 5, "{carried:?}");
        // The last ones are on their way when the kernel is asked.
        assert!(received * 10 > carried.frames * 9, "{received} packets of {carried:?}");
    });
    on_a_thread(|| {
        let (carried, received) = transfer(Family::V6, [false, true], 2_000_000);
        assert_eq!(carried.super_frames, 0);
        assert!(
            carried.frames > 1400 && received > 0,
            "{received} packets of {carried:?}"
        );
    });
}

#[test]
fn datagrams_sent_as_one_arrive_one_by_one() {
    on_a_thread(|| {
        enter_namespace();
        let near = card(Family::V4.address(1), 1, true);
        let (far, far_end) = mpsc::channel();
        let (got, result) = mpsc::channel();
        thread::spawn(move || {
            enter_namespace();
            let card = card(Family::V4.address(2), 2, true);
            let socket = UdpSocket::bind((Family::V4.address(2), PORT)).unwrap();
            far.send(card).unwrap();
            socket.set_read_timeout(Some(LONG)).unwrap();
            let mut buffer = [0; 2000];
            let mut receive = || socket.recv(&mut buffer).map(|length| buffer[..length].to_vec());
            got.send((0..21).map_while(|_| receive().ok()).collect::<Vec<_>>())
                .unwrap();
        });
        let wire = Wire::join([near, far_end.recv().unwrap()], [true, true]);
        let socket = UdpSocket::bind((Family::V4.address(1), 0)).unwrap();
        let to = SocketAddr::from((Family::V4.address(2), PORT));
        let segment: libc::c_int = 1200;
        // SAFETY: the option is a C int, and pointer and length describe one.
        let done = unsafe {
            let size = size_of_val(&segment) as libc::socklen_t;
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_UDP,
                libc::UDP_SEGMENT,
                (&raw const segment).cast(),
                size,
            )
        };
        assert_eq!(done, 0, "UDP_SEGMENT: {}", io::Error::last_os_error());
        let sent: Vec<u8> = (0..20 * 1200 + 300).map(|n: usize| (n / 1200) as u8).collect();
        socket.send_to(&sent, to).unwrap();
        let received = result.recv().unwrap();
        assert!(
            received.iter().map(Vec::as_slice).eq(sent.chunks(1200)),
            "{} came",
            received.len()
        );
        let carried = wire.stop();
        assert!(carried.super_frames >= 1, "{carried:?}");
    });
}

/// Sends `bytes` over TCP from one card to the other, each with offloads or without, and checks that they arrive. Gives
/// what was carried towards the far card, and how many packets it got.
fn transfer(family: Family, offloads: [bool; 2], bytes: usize) -> (Carried, u64) {
    enter_namespace();
    let near = card(family.address(1), 1, offloads[0]);
    let (far, far_end) = mpsc::channel();
    let (got, result) = mpsc::channel();
    thread::spawn(move || {
        enter_namespace();
        let card = card(family.address(2), 2, offloads[1]);
        let listener = TcpListener::bind((family.address(2), PORT)).unwrap();
        far.send(card).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        got.send((all, packets_of("far"))).unwrap();
    });
    let wire = Wire::join([near, far_end.recv().unwrap()], offloads);
    let sent = payload(bytes);
    let mut stream = TcpStream::connect((family.address(2), PORT)).unwrap();
    stream.set_write_timeout(Some(LONG)).unwrap();
    stream.write_all(&sent).unwrap();
    drop(stream);
    let (received, packets) = result.recv_timeout(LONG).unwrap();
    assert!(received == sent, "{} bytes came, and not those sent", received.len());
    (wire.stop(), packets)
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    fn address(self, number: u8) -> IpAddr {
        match self {
            Self::V4 => [10, 78, 0, number].into(),
            Self::V6 => [0xfd78, 0, 0, 0, 0, 0, 0, number.into()].into(),
        }
    }
}

/// Moves this thread, which is the test's own, to a new namespace.
fn enter_namespace() {
    // SAFETY: only this thread moves.
    let done = unsafe { libc::unshare(libc::CLONE_NEWNET) };
    assert_eq!(done, 0, "this test needs root: {}", io::Error::last_os_error());
}

fn card(ip: IpAddr, number: u8, offloads: bool) -> OwnedFd {
    let card = farlan_tap::create(&Create {
        name: if number == 1 { "near" } else { "far" }.to_owned(),
        owner: "test".to_owned(),
        mac: [2, 0, 0, 0, 0, number],
        mtu: MTU,
        addresses: vec![Address {
            ip,
            prefix: if ip.is_ipv4() { 24 } else { 64 },
        }],
        tx_queue: 1000,
        accept_router_advertisements: false,
        offloads,
    })
    .unwrap();
    assert_eq!(card.offloads.has_header(), offloads, "{}", card.offloads);
    card.fd
}

/// How many packets the kernel got from a card of this thread's namespace.
fn packets_of(card: &str) -> u64 {
    let table = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = table.lines().find_map(|line| line.trim().strip_prefix(card)).unwrap();
    line.trim_start_matches(':')
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

/// What went from the near card to the far one.
#[derive(Debug, Default)]
struct Carried {
    super_frames: u64,
    frames: u64,
}

/// Two cards, and the thread that carries frames between them.
struct Wire {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<Carried>,
}

impl Wire {
    fn join(descriptors: [OwnedFd; 2], vnet: [bool; 2]) -> Self {
        let mut polled = [0, 1].map(|n: usize| libc::pollfd {
            fd: descriptors[n].as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        let mut cards = Cards::default();
        for ((descriptor, vnet), number) in descriptors.into_iter().zip(vnet).zip(0..) {
            cards.attach(NetworkHandle::from_u8(number), AttachedCard { descriptor, vnet }, MTU);
        }
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let deadline = Instant::now() + 2 * LONG;
            let mut carried = Carried::default();
            let mut counters = ShellCounters::default();
            let (mut frames, mut out) = (Cards::batch(), Batch::default());
            while stopped.try_recv().is_err() && Instant::now() < deadline {
                // SAFETY: the pointer is to two `pollfd`s, as the count says.
                unsafe { libc::poll(polled.as_mut_ptr(), 2, 50) };
                for from in [0, 1] {
                    cards.read(NetworkHandle::from_u8(from), 1, &mut frames, &mut counters);
                    let frames_out = carry(&frames, NetworkHandle::from_u8(1 - from), &mut out);
                    if from == 0 {
                        carried.super_frames += frames_out.super_frames;
                        carried.frames += frames_out.frames;
                    }
                    cards.write_all(&out, &mut counters);
                    frames.clear();
                    out.clear();
                }
            }
            assert_eq!(counters, ShellCounters::default());
            carried
        });
        Self { stop, thread }
    }

    fn stop(self) -> Carried {
        self.stop.send(()).unwrap();
        self.thread.join().unwrap()
    }
}

/// Cuts `frames` into single ones for `network`.
fn carry(frames: &Batch<FrameLabel>, network: NetworkHandle, out: &mut Batch<FrameLabel>) -> Carried {
    let mut carried = Carried::default();
    let mut single = Vec::new();
    for (label, frame) in frames.iter() {
        let segments = Segments::new(frame, label.offload).unwrap();
        carried.super_frames += u64::from(segments.len() > 1);
        for index in 0..segments.len() {
            single.clear();
            segments.write(index, 0, &mut single);
            let offload = Offload {
                segment: None,
                ..label.offload
            };
            out.push(FrameLabel { network, offload }, &single);
            carried.frames += 1;
        }
    }
    carried
}

const PORT: u16 = 5001;
const LONG: Duration = Duration::from_secs(30);
