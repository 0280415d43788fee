//! Devices with offloads: what the kernel hands over, what it refuses, and what a crash on the way leaves.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::os::fd::AsRawFd;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use farlan_offload::{Offload, Run, Segments};
use farlan_tap::{Address, Card, Create, Offloads, create, remove_stale};

use crate::refusal::{Argument, Outcome, refuse_ioctl};
use crate::support::*;

#[test]
fn the_header_is_there_only_where_it_is_wanted() {
    in_namespace(|| {
        let card = create(&request("with")).unwrap();
        assert!(card.offloads.has_header(), "{}", card.offloads);
        assert_eq!(flags(&card), libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR);

        let plain = create(&Create {
            mac: [2, 0, 0, 0, 0, 1],
            addresses: Vec::new(),
            offloads: false,
            ..request("without")
        })
        .unwrap();
        assert!(!plain.offloads.has_header());
        assert_eq!(flags(&plain), libc::IFF_TAP | libc::IFF_NO_PI);
        assert_eq!(
            (card.name.as_str(), plain.name.as_str(), card.index, plain.index),
            ("with", "without", index_of("with"), index_of("without"))
        );
        drop((card, plain));
        assert!(!exists("with") && !exists("without"));
    });
}

#[test]
fn super_frames_go_through_two_cards() {
    in_namespace(|| {
        let card = create(&request("near")).unwrap();
        let (far_card, received) = far_end(request("far"));
        let wire = Wire::join(card, far_card);
        let sent: Vec<u8> = (0..4_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut stream = TcpStream::connect((FAR_IP, PORT)).unwrap();
        stream.write_all(&sent).unwrap();
        drop(stream);
        let received = received.recv_timeout(Duration::from_secs(20)).unwrap();
        assert!(received == sent, "{} bytes came, and not those sent", received.len());
        let longest = wire.stop();
        assert!(longest > 10_000, "the longest frame had {longest} bytes");
    });
}

/// A peer chooses what frames it sends, and a kernel that refuses one run gets no more of its kind.
#[test]
fn every_run_that_can_be_made_is_taken() {
    in_namespace(|| {
        let card = create(&request("runs")).unwrap();
        let Offloads::Header { udp, .. } = card.offloads else {
            panic!("{}", card.offloads);
        };
        let mut device = File::from(card.fd);
        let mut longest = 0;
        for (ipv6, is_udp) in [(false, false), (false, true), (true, false), (true, true)] {
            if is_udp && !udp {
                continue;
            }
            for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100]] {
                for (ip_options, tcp_options) in [(0, 0), (40, 0), (0, 40), (40, 40)] {
                    for (size, count) in [(1, 2), (1, 64), (7, 64), (1000, 64), (9000, 7), (536, 3)] {
                        let headers = super_headers(ipv6, is_udp, tags, (ip_options, tcp_options));
                        for open in [false, true] {
                            let frames = cut(&headers, size, count, open);
                            let mut run = Run::start(&frames[0], open).unwrap();
                            assert!(frames[1..].iter().all(|frame| run.join(frame, open)));
                            let (head, replaced) = run.finish();
                            let mut bytes = head.to_vec();
                            frames.iter().for_each(|frame| bytes.extend(&frame[replaced..]));
                            longest = longest.max(bytes.len());
                            let written = device.write(&bytes);
                            let what = (ipv6, is_udp, tags, ip_options, tcp_options, size, count);
                            assert_eq!(written.map_err(|error| error.to_string()), Ok(bytes.len()), "{what:?}");
                        }
                    }
                }
            }
        }
        assert!(longest > 60_000, "{longest}");
    });
}

/// The headers of a super-frame, in which all lengths are 0, and where they begin.
struct Headers {
    bytes: Vec<u8>,
    ip: usize,
    transport: usize,
    ipv6: bool,
    udp: bool,
}

fn super_headers(ipv6: bool, udp: bool, tags: &[u16], (ip_options, tcp_options): (u8, u8)) -> Headers {
    let mut bytes = [&MAC[..], &[2, 0, 0, 0, 0, 9]].concat();
    for tag in tags {
        bytes.extend([tag.to_be_bytes(), [0, 5]].concat());
    }
    let protocol = if udp { 17 } else { 6 };
    bytes.extend(if ipv6 { [0x86, 0xdd] } else { [8, 0] });
    let ip = bytes.len();
    if ipv6 {
        bytes.extend([0x60, 0, 0, 0, 0, 0, protocol, 64]);
        bytes.extend([0xfd, 0x12, 0x34, 0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
        bytes.extend([0xfd, 0x12, 0x34, 0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    } else {
        bytes.extend([0x45 + ip_options / 4, 0, 0, 0, 0, 1, 0x40, 0, 64, protocol, 0, 0]);
        bytes.extend([10, 77, 0, 9]);
        bytes.extend(OUR_IP.octets());
        bytes.resize(bytes.len() + usize::from(ip_options), 1);
    }
    let transport = bytes.len();
    bytes.extend([0x9c, 0x40, 0, 9]);
    if udp {
        bytes.extend([0; 4]);
    } else {
        let offset = 0x50 + (tcp_options / 4) * 16;
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 1, offset, 0x10, 4, 0, 0, 0, 0, 0]);
        bytes.resize(bytes.len() + usize::from(tcp_options), 1);
    }
    Headers {
        bytes,
        ip,
        transport,
        ipv6,
        udp,
    }
}

/// Frames with `size` bytes of payload each, that follow each other.
fn cut(headers: &Headers, size: u16, count: u16, open: bool) -> Vec<Vec<u8>> {
    let mut frame = headers.bytes.clone();
    // The longest payload that the length fields hold.
    let room = usize::from(u16::MAX) - (headers.bytes.len() - headers.ip);
    let count = usize::from(count).min(room / usize::from(size));
    frame.resize(frame.len() + count * usize::from(size), 3);
    let mut put = |at: usize, length: usize| {
        frame[at..at + 2].copy_from_slice(&u16::try_from(length).expect("there is room").to_be_bytes());
    };
    let end = headers.bytes.len() + count * usize::from(size);
    if headers.ipv6 {
        put(headers.ip + 4, end - headers.transport);
    } else {
        put(headers.ip + 2, end - headers.ip);
    }
    if headers.udp {
        put(headers.transport + 4, end - headers.transport);
    }
    let offload = Offload {
        partial: open,
        segment: NonZeroU16::new(size),
    };
    let segments = Segments::new(&frame, offload).expect("it is of the plain shape");
    let write = |index| {
        let mut frame = Vec::new();
        segments.write(index, 0, &mut frame);
        frame
    };
    (0..segments.len()).map(write).collect()
}

#[test]
fn the_upgrade_goes_down_step_by_step() {
    let uso = libc::TUN_F_USO4 | libc::TUN_F_USO6;
    for (refused, reached) in [
        (uso, "checksum tcp ecn"),
        (uso | libc::TUN_F_TSO_ECN, "checksum tcp"),
        (uso | libc::TUN_F_TSO4, "checksum"),
    ] {
        in_namespace(move || {
            refuse_ioctl(
                libc::TUNSETOFFLOAD,
                Argument::Has(refused),
                Outcome::Error(libc::EINVAL),
            );
            let card = create(&request("steps")).unwrap();
            assert_eq!(card.offloads.to_string(), reached);
            assert_eq!(flags(&card) & libc::IFF_PERSIST, 0);
        });
    }
}

#[test]
fn a_refusal_at_any_step_leaves_a_plain_device_that_works() {
    for (ioctl, argument, what) in [
        (libc::TUNSETOWNER, Argument::Any, "set the owner of plain"),
        (libc::TUNSETPERSIST, Argument::Is(1), "make persistent plain"),
        (libc::TUNSETVNETHDRSZ, Argument::Any, "set the header of plain"),
        (libc::TUNSETOFFLOAD, Argument::Any, "switch on the offloads of plain"),
        (libc::TUNSETPERSIST, Argument::Is(0), "make no longer persistent plain"),
    ] {
        in_namespace(move || {
            refuse_ioctl(ioctl, argument, Outcome::Error(libc::EINVAL));
            let card = create(&request("plain")).unwrap();
            let Offloads::Plain { reason } = &card.offloads else {
                panic!("{what} was not refused: {}", card.offloads);
            };
            assert!(reason.contains(what), "{reason}");
            assert_eq!(flags(&card), libc::IFF_TAP | libc::IFF_NO_PI);
            let link = ip(&["-d", "-o", "link", "show", "dev", "plain"]);
            for expected in [
                "link/ether 02:11:22:33:44:55 ",
                "alias farlan:london",
                " mtu 1400 ",
                ",UP,LOWER_UP>",
            ] {
                assert!(link.contains(expected), "{expected:?} is not in {link}");
            }
            let addresses = ip(&["-o", "address", "show", "dev", "plain"]);
            assert_eq!(addresses.lines().count(), 3, "{addresses}");

            let (far_card, received) = far_end(Create {
                offloads: false,
                ..request("far")
            });
            let wire = Wire::join(card, far_card);
            let mut stream = TcpStream::connect((FAR_IP, PORT)).unwrap();
            stream.write_all(&[7; 100_000]).unwrap();
            drop(stream);
            assert_eq!(received.recv_timeout(Duration::from_secs(20)).unwrap(), [7; 100_000]);
            let longest = wire.stop();
            assert_eq!(longest, 1414, "a frame of the MTU, and no header");
            assert!(!exists("plain"), "a persistent device is left");
        });
    }
}

#[test]
fn what_a_crash_on_the_way_leaves_is_known_and_removed() {
    for (ioctl, argument) in [
        (libc::TUNSETVNETHDRSZ, Argument::Any),
        (libc::TUNSETPERSIST, Argument::Is(0)),
    ] {
        in_namespace(move || {
            let crash = || {
                crash_in_create(&request("crashed"), move || {
                    refuse_ioctl(ioctl, argument, Outcome::Kill)
                })
            };
            crash();
            let link = ip(&["-d", "-o", "link", "show", "dev", "crashed"]);
            for expected in ["alias farlan:london", "vnet_hdr on persist on"] {
                assert!(link.contains(expected), "{expected:?} is not in {link}");
            }
            let card = create(&request("crashed")).unwrap();
            assert!(card.offloads.has_header(), "{}", card.offloads);
            assert_eq!(flags(&card) & libc::IFF_PERSIST, 0);
            drop(card);
            assert!(!exists("crashed"));

            crash();
            assert_eq!(remove_stale("london").unwrap(), ["crashed"]);
            assert!(!exists("crashed"));
        });
    }
}

/// The `IFF_*` flags of a card, as TUNGETIFF tells them.
fn flags(card: &Card) -> i32 {
    // SAFETY: all-zero bytes are a valid `ifreq`, which holds integers, byte arrays and a null pointer.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // SAFETY: TUNGETIFF writes one `ifreq` through the pointer, which is to one.
    let done = unsafe { libc::ioctl(card.fd.as_raw_fd(), libc::TUNGETIFF, &raw mut request) };
    assert_eq!(done, 0, "TUNGETIFF: {}", std::io::Error::last_os_error());
    // SAFETY: TUNGETIFF fills in `ifru_flags`.
    i32::from(unsafe { request.ifr_ifru.ifru_flags })
}

/// Calls `create` in a child process that `prepare` makes die in it.
fn crash_in_create(request: &Create, prepare: impl FnOnce()) {
    // SAFETY: the child has the thread's namespace and only makes system calls and memory, which fork leaves usable.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        // SAFETY: the first only changes a setting of this process, so that it leaves no core; the last ends it.
        unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0) };
        prepare();
        let _ = create(request);
        // SAFETY: as above.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: the pointer is to a C int; the child is this process's own.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert!(
        libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSYS,
        "the child did not die of the refused call: {status:#x}"
    );
}

/// A card in another namespace, where one TCP connection is taken; gives what came over it.
fn far_end(mut request: Create) -> (Card, mpsc::Receiver<Vec<u8>>) {
    request.mac[5] = 0x66;
    request.addresses = vec![Address {
        ip: IpAddr::V4(FAR_IP),
        prefix: 24,
    }];
    let (card, made) = mpsc::channel();
    let (bytes, received) = mpsc::channel();
    std::thread::spawn(move || {
        // SAFETY: only this thread moves to the new namespace, and it ends with the test.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0);
        let far = create(&request).expect("a second card");
        let listener = TcpListener::bind((FAR_IP, PORT)).expect("its address is there");
        card.send(far).expect("the test waits for it");
        let (mut stream, _) = listener.accept().expect("the test connects");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).expect("the connection lasts");
        bytes.send(all).expect("the test waits for it");
    });
    (made.recv().expect("the card is made"), received)
}

const FAR_IP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const PORT: u16 = 5000;

/// Carries what is read from either card to the other, as it is: a header that was read can be written.
struct Wire {
    stop: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<usize>,
}

impl Wire {
    fn join(near: Card, far: Card) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let deadline = Instant::now() + Duration::from_secs(30);
            let mut files = [File::from(near.fd), File::from(far.fd)];
            let mut longest = 0;
            let mut buffer = vec![0; 70_000];
            while stopped.try_recv().is_err() && Instant::now() < deadline {
                let mut polled = [0, 1].map(|n: usize| libc::pollfd {
                    fd: files[n].as_raw_fd(),
                    events: libc::POLLIN,
                    revents: 0,
                });
                // SAFETY: the pointer is to two `pollfd`s, as the count says.
                unsafe { libc::poll(polled.as_mut_ptr(), 2, 100) };
                for from in 0..2 {
                    match files[from].read(&mut buffer) {
                        Ok(length) => {
                            longest = longest.max(length);
                            // A card that is not up yet refuses frames.
                            let _ = files[1 - from].write(&buffer[..length]);
                        }
                        Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                    }
                }
            }
            longest
        });
        Self { stop, thread }
    }

    /// Closes both cards; gives the length of the longest thing carried.
    fn stop(self) -> usize {
        self.stop.send(()).expect("the wire runs");
        self.thread.join().expect("the wire does not panic")
    }
}
