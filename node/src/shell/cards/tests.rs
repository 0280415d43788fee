//! Cards whose kernel is a socket that keeps the bounds of messages, as a TAP descriptor does.
#![allow(unsafe_code)]

mod wire;

use std::num::NonZeroU16;

use socket2::{Domain, Socket, Type};

use super::*;

const MTU: u16 = 1400;
const SEGMENT: u16 = 1000;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ETHERNET_IP: usize = 14 + 20;

/// A card of network 1 and the far end of its descriptor.
struct Bench {
    cards: Cards,
    far: Socket,
    frames: Batch<FrameLabel>,
    counters: ShellCounters,
}

impl Bench {
    fn new(vnet: bool) -> Self {
        let (near, far) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
        near.set_nonblocking(true).unwrap();
        far.set_nonblocking(true).unwrap();
        let mut cards = Cards::default();
        let descriptor = near.into();
        cards.attach(network(), AttachedCard { descriptor, vnet }, MTU);
        Self {
            cards,
            far,
            frames: Cards::batch(),
            counters: ShellCounters::default(),
        }
    }

    fn read(&mut self, limit: usize) -> bool {
        self.brought(limit).more
    }

    fn brought(&mut self, limit: usize) -> Brought {
        self.cards.read(network(), limit, &mut self.frames, &mut self.counters)
    }

    /// What was read, which is forgotten.
    fn taken(&mut self) -> Vec<(Offload, Vec<u8>)> {
        let taken = self.frames.iter();
        let taken = taken.map(|(label, frame)| (label.offload, frame.to_vec())).collect();
        self.frames.clear();
        taken
    }

    fn write(&mut self, frames: &[(Offload, Vec<u8>)]) {
        let mut batch = Batch::default();
        for (offload, frame) in frames {
            let network = network();
            let offload = *offload;
            batch.push(FrameLabel { network, offload }, frame);
        }
        self.cards.write_all(&batch, &mut self.counters);
    }

    /// The messages that reached the far end.
    fn arrived(&mut self) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        let mut buffer = vec![0; 70_000];
        while let Ok(length) = self.far.read(&mut buffer) {
            messages.push(buffer[..length].to_vec());
        }
        messages
    }
}

fn network() -> NetworkHandle {
    NetworkHandle::from_u8(1)
}

/// A frame of TCP or UDP with an open checksum, which a super-frame is too.
fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    let header = if protocol == TCP { 20 } else { 8 };
    let length = u16::try_from(header + payload.len()).unwrap();
    let mut ip = vec![0x45, 0];
    ip.extend((length + 20).to_be_bytes());
    ip.extend([0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
    let checksum = !sum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let mut pseudo = ip[12..20].to_vec();
    pseudo.extend([0, protocol]);
    pseudo.extend(length.to_be_bytes());
    let open = sum(&pseudo).to_be_bytes();
    frame.extend(ip);
    frame.extend([0x10, 0, 0x20, 0]);
    if protocol == TCP {
        // Sequence and acknowledgement number, offset, ACK, window, checksum, urgent pointer.
        frame.extend([0, 0, 1, 0, 0, 0, 0, 1, 0x50, 0x10, 1, 0, open[0], open[1], 0, 0]);
    } else {
        frame.extend(length.to_be_bytes());
        frame.extend(open);
    }
    frame.extend(payload);
    frame
}

/// The sum of RFC 1071, folded.
fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).unwrap()
}

/// Whether the checksum over IPv4 addresses and TCP or UDP is right.
fn verifies(frame: &[u8]) -> bool {
    let mut summed = frame[26..].to_vec();
    summed.extend([0, frame[23]]);
    // An odd payload is padded where it ends, which is here.
    if (frame.len() - 26) % 2 == 1 {
        summed.insert(frame.len() - 26, 0);
    }
    summed.extend(u16::try_from(frame.len() - ETHERNET_IP).unwrap().to_be_bytes());
    sum(&summed) == 0xffff
}

fn payload(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 249) as u8).collect()
}

/// The `virtio_net_hdr` of a packet; `segment` makes it one of a super-frame.
fn vnet(protocol: u8, segment: Option<u16>) -> [u8; VNET_HEADER] {
    let (kind, header, checksum) = if protocol == TCP {
        (1, 20, 16_u16)
    } else {
        (GSO_UDP_L4, 8, 6)
    };
    let mut vnet = [0; VNET_HEADER];
    vnet[0] = 1;
    if let Some(segment) = segment {
        vnet[1] = kind;
        vnet[2..4].copy_from_slice(&(34_u16 + header).to_ne_bytes());
        vnet[4..6].copy_from_slice(&segment.to_ne_bytes());
    }
    vnet[6..8].copy_from_slice(&34_u16.to_ne_bytes());
    vnet[8..10].copy_from_slice(&checksum.to_ne_bytes());
    vnet
}

fn message(header: [u8; VNET_HEADER], frame: &[u8]) -> Vec<u8> {
    [&header, frame].concat()
}

fn partial() -> Offload {
    Offload {
        partial: true,
        segment: None,
    }
}

fn super_offload(segment: u16) -> Offload {
    Offload {
        partial: true,
        segment: NonZeroU16::new(segment),
    }
}

/// The frames for which a super-frame of `length` bytes of payload stands.
fn cut(protocol: u8, length: usize) -> Vec<(Offload, Vec<u8>)> {
    let frame = packet(protocol, &payload(length));
    let segments = Segments::new(&frame, super_offload(SEGMENT)).unwrap();
    let segment = |index| {
        let mut segment = Vec::new();
        segments.write(index, 0, &mut segment);
        (partial(), segment)
    };
    (0..segments.len()).map(segment).collect()
}

fn arp() -> Vec<u8> {
    let mut frame = vec![0xff; 42];
    frame[12..14].copy_from_slice(&[8, 6]);
    frame
}

#[test]
fn what_a_card_with_offloads_gives_is_labelled() {
    let mut bench = Bench::new(true);
    let single = packet(UDP, &payload(100));
    let tcp = packet(TCP, &payload(60_000));
    let udp = packet(UDP, &payload(30_000));
    bench.far.send(&message([0; VNET_HEADER], &arp())).unwrap();
    bench.far.send(&message(vnet(UDP, None), &single)).unwrap();
    bench.far.send(&message(vnet(TCP, Some(SEGMENT)), &tcp)).unwrap();
    bench.far.send(&message(vnet(UDP, Some(SEGMENT)), &udp)).unwrap();
    assert!(!bench.read(10), "the card is empty");
    let expected = [
        (Offload::default(), arp()),
        (partial(), single),
        (super_offload(SEGMENT), tcp),
        (super_offload(SEGMENT), udp),
    ];
    assert!(bench.taken() == expected);
    assert_eq!(bench.counters, ShellCounters::default());
}

#[test]
fn a_plain_card_has_no_header() {
    let mut bench = Bench::new(false);
    bench.far.send(&arp()).unwrap();
    bench.far.send(&[1; 1423]).unwrap();
    assert!(!bench.read(10));
    assert_eq!(bench.taken(), [(Offload::default(), arp())]);
    assert_eq!(bench.counters.card_overlong, 1);
}

#[test]
fn what_the_mtu_does_not_allow_or_makes_no_sense_is_counted() {
    let mut bench = Bench::new(true);
    let longest = packet(TCP, &payload(1422 - 54));
    let too_long = packet(TCP, &payload(1422 - 53));
    bench.far.send(&message(vnet(TCP, None), &longest)).unwrap();
    bench.far.send(&message(vnet(TCP, None), &too_long)).unwrap();
    // Of a super-frame it is the frames that count.
    let transfer = packet(TCP, &payload(20_000));
    bench.far.send(&message(vnet(TCP, Some(1422 - 54)), &transfer)).unwrap();
    bench.far.send(&message(vnet(TCP, Some(1422 - 53)), &transfer)).unwrap();
    assert!(!bench.read(10));
    let lengths: Vec<_> = bench.taken().iter().map(|(_, frame)| frame.len()).collect();
    assert_eq!(lengths, [longest.len(), transfer.len()]);
    assert_eq!(bench.counters.card_overlong, 2);

    let mut unknown = vnet(TCP, Some(SEGMENT));
    unknown[1] = 3;
    let mut outside = vnet(TCP, None);
    outside[6..8].copy_from_slice(&60_000_u16.to_ne_bytes());
    bench.far.send(&[0; 9]).unwrap();
    bench.far.send(&message(unknown, &transfer)).unwrap();
    bench.far.send(&message(outside, &longest)).unwrap();
    bench.far.send(&vec![0; ROOM + 1]).unwrap();
    assert!(!bench.read(10));
    assert_eq!(bench.taken(), []);
    assert_eq!((bench.counters.card_malformed, bench.counters.card_overlong), (3, 3));
}

#[test]
fn one_frame_takes_one_read_and_a_transfer_is_read_on() {
    let mut bench = Bench::new(true);
    let small = message([0; VNET_HEADER], &arp());
    let large = message(vnet(TCP, Some(SEGMENT)), &packet(TCP, &payload(50_000)));
    for _ in 0..3 {
        bench.far.send(&small).unwrap();
    }
    assert!(bench.read(1), "there may be more");
    assert_eq!(bench.taken().len(), 1);
    assert!(bench.read(2), "there may be more");
    assert_eq!(bench.taken().len(), 2);

    for message in [&large, &small, &small] {
        bench.far.send(message).unwrap();
    }
    assert!(!bench.read(1), "it is read to its end");
    assert_eq!(bench.taken().len(), 3);
}

#[test]
fn a_call_has_an_end() {
    let mut bench = Bench::new(true);
    let large = message(vnet(TCP, Some(SEGMENT)), &packet(TCP, &payload(60_000)));
    let small = message([0; VNET_HEADER], &arp());
    let enough = BYTES_PER_READ.div_ceil(large.len());
    bench.far.set_send_buffer_size(4 << 20).unwrap();
    for _ in 0..enough + 2 {
        bench.far.send(&large).unwrap();
    }
    assert!(bench.read(FRAMES_PER_READ));
    assert_eq!(bench.taken().len(), enough);
    assert!(!bench.read(FRAMES_PER_READ));
    assert_eq!(bench.taken().len(), 2);

    for _ in 0..FRAMES_PER_READ + 1 {
        bench.far.send(&small).unwrap();
    }
    assert!(bench.read(usize::MAX));
    assert_eq!(bench.taken().len(), FRAMES_PER_READ);
    assert!(!bench.read(usize::MAX));
    assert_eq!(bench.taken().len(), 1);
}

#[test]
fn super_frames_of_very_short_frames_are_not_read_together() {
    let mut bench = Bench::new(true);
    let short = message(vnet(TCP, Some(8)), &packet(TCP, &payload(20_000)));
    let long = message(vnet(TCP, Some(SEGMENT)), &packet(TCP, &payload(20_000)));
    for message in [&short, &short, &long, &long, &short, &short] {
        bench.far.send(message).unwrap();
    }
    for (read, stands_for) in [(1, 2500), (1, 2500), (3, 2540), (1, 2500)] {
        let brought = bench.brought(FRAMES_PER_READ);
        assert!(brought.more);
        assert_eq!((bench.taken().len(), brought.frames), (read, stands_for));
    }
    assert!(!bench.read(FRAMES_PER_READ));
}

#[test]
fn a_card_that_ends_is_closed() {
    let mut bench = Bench::new(true);
    assert_eq!(bench.cards.network(1), Some(network()));
    bench.far.shutdown(std::net::Shutdown::Both).unwrap();
    assert!(!bench.read(1));
    assert_eq!(bench.cards.network(1), None);
    bench.write(&[(Offload::default(), arp())]);
    assert_eq!(bench.counters.card_missing, 1);
}

#[test]
fn frames_that_follow_each_other_are_written_as_one() {
    let mut bench = Bench::new(true);
    let mut frames = cut(TCP, 20_500);
    frames.push((partial(), packet(UDP, &payload(77))));
    frames.push((Offload::default(), arp()));
    frames.extend(cut(UDP, 5_000));
    bench.write(&frames);
    let expected = [
        message(vnet(TCP, Some(SEGMENT)), &packet(TCP, &payload(20_500))),
        message(vnet(UDP, None), &packet(UDP, &payload(77))),
        message([0; VNET_HEADER], &arp()),
        message(vnet(UDP, Some(SEGMENT)), &packet(UDP, &payload(5_000))),
    ];
    let arrived = bench.arrived();
    assert_eq!(arrived.len(), expected.len());
    for (arrived, expected) in arrived.iter().zip(&expected) {
        assert!(
            arrived == expected,
            "{:?} … and not {:?} …",
            &arrived[..64.min(arrived.len())],
            &expected[..52]
        );
    }
    assert_eq!(bench.counters, ShellCounters::default());
}

#[test]
fn a_run_ends_where_the_kernel_could_not_take_more() {
    let mut bench = Bench::new(true);
    let frames = cut(UDP, 65_000);
    assert!(frames.len() > LONGEST_RUN);
    bench.write(&frames);
    let lengths: Vec<_> = bench.arrived().iter().map(Vec::len).collect();
    assert_eq!(lengths, [10 + 42 + 64 * 1000, 10 + 42 + 1000]);
}

#[test]
fn a_plain_card_gets_single_frames_with_checksums() {
    let mut bench = Bench::new(false);
    let mut frames = cut(TCP, 4_500);
    frames.push((Offload::default(), arp()));
    frames.push((partial(), arp()));
    bench.write(&frames);
    let arrived = bench.arrived();
    let lengths: Vec<_> = arrived.iter().map(Vec::len).collect();
    assert_eq!(lengths, [1054, 1054, 1054, 1054, 554, 42]);
    assert!(arrived[..5].iter().all(|frame| verifies(frame)));
    assert!(frames[..5].iter().all(|(_, frame)| !verifies(frame)));
    assert_eq!(arrived[5], arp());
    assert_eq!(bench.counters.card_refused, 1, "ARP has no checksum that could be open");
}

#[test]
fn frames_for_several_cards_are_told_apart() {
    let mut bench = Bench::new(true);
    let (near, other) = Socket::pair(Domain::UNIX, Type::SEQPACKET, None).unwrap();
    let descriptor = near.into();
    let second = NetworkHandle::from_u8(2);
    bench.cards.attach(second, AttachedCard { descriptor, vnet: true }, MTU);
    let mut batch = Batch::default();
    let numbers = [1, 1, 2, 2, 2, 7, 1];
    for ((offload, frame), number) in cut(UDP, 7_000).into_iter().zip(numbers) {
        let network = NetworkHandle::from_u8(number);
        batch.push(FrameLabel { network, offload }, &frame);
    }
    bench.cards.write_all(&batch, &mut bench.counters);
    let lengths: Vec<_> = bench.arrived().iter().map(Vec::len).collect();
    assert_eq!(lengths, [52 + 2000, 52 + 1000]);
    let mut buffer = [0; 5000];
    assert_eq!((&other).read(&mut buffer).unwrap(), 52 + 3000);
    assert_eq!(bench.counters.card_missing, 1);
    assert_eq!(bench.counters.card_refused, 0);
}

#[test]
fn refused_super_frames_are_written_singly_from_then_on() {
    on_a_thread(|| {
        let mut bench = Bench::new(true);
        refuse_long_writes(libc::EINVAL);
        for _ in 0..2 {
            bench.write(&cut(UDP, 3_500));
            let arrived = bench.arrived();
            let lengths: Vec<_> = arrived.iter().map(Vec::len).collect();
            assert_eq!(lengths, [1052, 1052, 1052, 552]);
            for message in arrived {
                assert_eq!(message[..VNET_HEADER], [0; VNET_HEADER]);
                assert!(verifies(&message[VNET_HEADER..]));
            }
            let card = &bench.cards.cards[0];
            assert!(card.udp_refused && !card.tcp_refused, "each kind has its own fallback");
        }
        bench.write(&cut(TCP, 3_500));
        assert_eq!(bench.arrived().len(), 4);
        assert!(bench.cards.cards[0].tcp_refused);
        // A single frame with an open checksum is still taken as it is.
        bench.write(&cut(TCP, 500));
        let expected = message(vnet(TCP, None), &packet(TCP, &payload(500)));
        assert!(bench.arrived() == [expected]);
        assert_eq!(bench.counters, ShellCounters::default());
    });
}

#[test]
fn what_passes_is_no_reason_to_give_up_super_frames() {
    for errno in [libc::ENOMEM, libc::EIO] {
        on_a_thread(move || {
            let mut bench = Bench::new(true);
            refuse_long_writes(errno);
            bench.write(&cut(UDP, 3_500));
            assert_eq!(bench.arrived().len(), 4);
            assert!(!bench.cards.cards[0].udp_refused);
        });
    }
    let mut bench = Bench::new(true);
    bench.far.shutdown(std::net::Shutdown::Both).unwrap();
    bench.write(&cut(UDP, 3_500));
    assert_eq!(bench.counters.card_refused, 4);
    assert!(
        !bench.cards.cards[0].udp_refused,
        "a card that takes nothing says nothing of offloads"
    );
}

/// Runs `test` on a thread of its own, with which its system-call filter ends.
fn on_a_thread(test: impl FnOnce() + Send + 'static) {
    if let Err(panic) = std::thread::spawn(test).join() {
        std::panic::resume_unwind(panic);
    }
}

/// Makes writes of this thread fail that have more than a header and one frame, by seccomp.
fn refuse_long_writes(errno: i32) {
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let jump = |test| libc::BPF_JMP | test | libc::BPF_K;
    let end = libc::BPF_RET | libc::BPF_K;
    let number = u32::try_from(libc::SYS_writev).unwrap();
    // `struct seccomp_data` begins with the number; the arguments, of 64 bits, begin at 16.
    let count_at = 16 + 2 * 8 + if cfg!(target_endian = "big") { 4 } else { 0 };
    let instruction = |code: u32, k: u32, jt: u8, jf: u8| {
        let code = u16::try_from(code).unwrap();
        libc::sock_filter { code, jt, jf, k }
    };
    let filter = [
        instruction(load, 0, 0, 0),
        instruction(jump(libc::BPF_JEQ), number, 0, 3),
        instruction(load, count_at, 0, 0),
        instruction(jump(libc::BPF_JGT), 2, 0, 1),
        instruction(end, libc::SECCOMP_RET_ERRNO | errno.cast_unsigned(), 0, 0),
        instruction(end, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).unwrap(),
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: both concern this thread alone; the kernel copies the program, which is as long as it says.
    let done = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program)
    };
    assert_eq!(
        done,
        0,
        "this test needs seccomp filters: {}",
        io::Error::last_os_error()
    );
}
