//! The hot functions, each at work on inputs made beforehand.

#[cfg(target_arch = "x86_64")]
use farlan_crypto::simd::Isa;
use farlan_crypto::{
    Job, Key, Opener, Sealer, TAG, Window,
    aead::{open_portably, seal_portably},
};
use farlan_engine::{Batch, FrameLabel, Outbox, PathKind, Received};
use farlan_netconf::Mtu;
use farlan_offload::{Run, Segments, complete};

use super::{
    engines::{Member, Trio},
    measured, packets,
};

/// Measures everything, one part after the other, and tells `begun` its name and how many operations it does.
pub fn measure_all(mut begun: impl FnMut(&str, u32)) {
    let mut part = Part { begun: &mut begun };
    for (seal, open, length) in [("seal_64", "open_64", 64), ("seal_1400", "open_1400", 1400)] {
        part.session(seal, open, length);
    }
    part.ciphers();
    let mut direct = Trio::new(PathKind::Direct);
    for (outbound, inbound, count, length) in [
        ("outbound_64_alone", "inbound_64_alone", 1, 64),
        ("outbound_64_of_32", "inbound_64_of_32", 32, 64),
        ("outbound_full_of_32", "inbound_full_of_32", 32, FULL),
    ] {
        part.outbound(outbound, &mut direct, count, length);
        part.inbound(inbound, &mut direct, count, length);
    }
    let mut strangers = Trio::of_strangers();
    part.outbound("outbound_64_strangers_of_32", &mut strangers, 32, 64);
    part.inbound("inbound_64_strangers_of_32", &mut strangers, 32, 64);
    part.outbound_super("outbound_super_of_45", &mut direct);
    part.offloads(&direct);
    part.relay("relay_1440_of_45", &mut Trio::new(PathKind::Relay));
}

struct Part<'a> {
    begun: &'a mut dyn FnMut(&str, u32),
}

/// What is done with messages that were put together.
type Work<'a> = &'a dyn Fn(&mut [Job<'_>]);

impl Part<'_> {
    /// Does `operation` on each input: on the first ones to warm up, on the others measured. `packets` is how many
    /// operations one input stands for.
    fn run<T>(&mut self, name: &str, packets: usize, inputs: Vec<T>, mut operation: impl FnMut(&mut T)) {
        let mut inputs = inputs.into_iter();
        for mut input in inputs.by_ref().take(WARM) {
            operation(&mut input);
        }
        let mut inputs: Vec<T> = inputs.collect();
        (self.begun)(name, (inputs.len() * packets) as u32);
        let mut next = inputs.iter_mut();
        measured(next.len() as u32, &mut || {
            if let Some(input) = next.next() {
                operation(input);
            }
        });
    }

    fn session(&mut self, seal: &'static str, open: &'static str, length: usize) {
        let key = Key::from_bytes([7; 32]);
        let mut sealer = Sealer::new(Key::from_bytes([7; 32]));
        let header = [1; 16];
        let mut counters = Vec::new();
        let plain: Vec<_> = (0..SINGLE).map(|_| vec![5; length + TAG]).collect();
        let mut sealed = plain.clone();
        for message in &mut sealed {
            let counter = sealer.next_counter().expect("a new session");
            sealer.seal(counter, &header, message);
            counters.push(counter);
        }
        self.run(seal, 1, plain, |message| {
            let counter = sealer.next_counter().expect("a session used little");
            sealer.seal(counter, &header, message);
        });
        let mut opener = Opener::new(key, Window::Node);
        let sealed: Vec<_> = counters.into_iter().zip(sealed).collect();
        self.run(open, 1, sealed, |(counter, message)| {
            opener.open(*counter, &header, message).expect("what was sealed");
        });
    }

    /// The cipher by the crates, and by each instruction set that valgrind knows, as if `FARLAN_SIMD` named it.
    fn ciphers(&mut self) {
        let scalar: [Work<'_>; 2] = [&|jobs| jobs.iter_mut().for_each(seal_portably), &|jobs| {
            jobs.iter_mut().for_each(open_portably)
        }];
        self.cipher("64_crates", 64, TOGETHER, scalar);
        self.cipher("1400_crates", 1400, TOGETHER, scalar);
        #[cfg(target_arch = "x86_64")]
        for isa in Isa::all() {
            let names = match isa.name() {
                "avx2" => ["64_avx2", "64_of_32_avx2", "1400_of_32_avx2"],
                "sse2" => ["64_sse2", "64_of_32_sse2", "1400_of_32_sse2"],
                // There is none in valgrind.
                _ => continue,
            };
            let work: [Work<'_>; 2] = [&|jobs| isa.seal_batch(jobs), &|jobs| isa.open_batch(jobs)];
            for (name, (length, count)) in names.into_iter().zip([(64, 1), (64, TOGETHER), (1400, TOGETHER)]) {
                self.cipher(name, length, count, work);
            }
        }
    }

    /// Sealing and opening, `count` messages at once.
    fn cipher(&mut self, name: &str, length: usize, count: usize, [seal, open]: [Work<'_>; 2]) {
        let (key, header) = ([7; 32], [1; 16]);
        let with_jobs = |messages: &mut Vec<Vec<u8>>, work: Work<'_>| {
            let jobs = (0..).zip(messages.iter_mut());
            let mut jobs: Vec<_> = jobs
                .filter_map(|(counter, message)| Job::new(&key, counter, &header, message))
                .collect();
            work(&mut jobs);
        };
        let plain = vec![vec![vec![5; length + TAG]; count]; batches(count)];
        let mut sealed = plain.clone();
        sealed
            .iter_mut()
            .for_each(|messages| with_jobs(messages, &|jobs| jobs.iter_mut().for_each(seal_portably)));
        self.run(&format!("seal_{name}"), count, plain.clone(), |messages| {
            with_jobs(messages, seal)
        });
        self.run(&format!("open_{name}"), count, sealed, |messages| {
            with_jobs(messages, open);
            let (text, _) = messages[0].split_at(length);
            assert!(text == &plain[0][0][..length], "open_{name}");
        });
    }

    fn outbound(&mut self, name: &'static str, trio: &mut Trio, count: usize, length: usize) {
        let inputs = (0..batches(count))
            .map(|_| trio.a.frames(&trio.b, count, length))
            .collect();
        let (engine, now) = (&mut trio.a.end.engine, trio.a.end.now);
        let mut out = Outbox::default();
        self.run(name, count, inputs, |frames| {
            out.clear();
            engine.handle_frames(now, frames, &mut out);
        });
        assert_eq!(out.datagrams.iter().count(), count, "{name}");
    }

    fn inbound(&mut self, name: &'static str, trio: &mut Trio, count: usize, length: usize) {
        let inputs = datagrams(&mut trio.a, &trio.b, count, length);
        let (engine, now) = (&mut trio.b.end.engine, trio.b.end.now);
        let mut out = Outbox::default();
        self.run(name, count, inputs, |datagrams| {
            out.clear();
            engine.handle_datagrams(now, datagrams, &mut out);
        });
        assert_eq!(out.frames.iter().count(), count, "{name}");
    }

    /// Super-frames, which the engine cuts itself.
    fn outbound_super(&mut self, name: &'static str, trio: &mut Trio) {
        let label = FrameLabel {
            network: trio.a.handle(),
            offload: packets::SUPER,
        };
        let frame = trio.a.super_frame(&trio.b, BURST);
        let inputs = (0..batches(BURST))
            .map(|_| {
                let mut batch: Batch<FrameLabel> = Batch::default();
                batch.push(label, &frame);
                batch
            })
            .collect();
        let (engine, now) = (&mut trio.a.end.engine, trio.a.end.now);
        let mut out = Outbox::default();
        self.run(name, BURST, inputs, |frames| {
            out.clear();
            engine.handle_frames(now, frames, &mut out);
        });
        assert_eq!(out.datagrams.iter().count(), BURST, "{name}");
    }

    /// What makes frames of super-frames and super-frames of frames, by itself.
    fn offloads(&mut self, trio: &Trio) {
        let super_frame = trio.a.super_frame(&trio.b, BURST);
        let cut = |arena: &mut Vec<u8>| {
            let segments = Segments::new(&super_frame, packets::SUPER).expect("a super-frame");
            for index in 0..segments.len() {
                segments.write(index, 0, arena);
            }
        };
        let mut arena = Vec::new();
        self.run("segments_of_45", BURST, vec![(); batches(BURST)], |()| {
            arena.clear();
            cut(&mut arena);
        });
        let frames: Vec<_> = arena.chunks(arena.len() / BURST).map(<[u8]>::to_vec).collect();
        assert_eq!(frames.len(), BURST, "segments_of_45");
        let mut written = Vec::new();
        self.run("run_of_45", BURST, vec![(); batches(BURST)], |()| {
            let mut run = Run::start(&frames[0], true).expect("a frame");
            for frame in &frames[1..] {
                assert!(run.join(frame, true), "frames that follow each other");
            }
            written = run.finish().0.to_vec();
        });
        assert!(written.ends_with(&super_frame[HEADERS - 4..HEADERS]), "run_of_45");
        let inputs = vec![frames[0].clone(); SINGLE];
        self.run("complete_full", 1, inputs, |frame| {
            complete(frame).expect("a frame");
        });
    }

    fn relay(&mut self, name: &'static str, trio: &mut Trio) {
        let mut template = trio.a.datagrams(&trio.b, 1, FULL);
        let (_, bytes) = template.packet_mut(0).expect("one datagram");
        // A supernode does not look into what it relays, so any ending will do.
        let mut datagram = bytes.to_vec();
        datagram.resize(RELAYED, 0);
        let inputs = (0..batches(BURST))
            .map(|_| {
                let mut batch = Batch::default();
                for _ in 0..BURST {
                    batch.push(trio.a.end.address, &datagram);
                }
                batch
            })
            .collect();
        let (engine, now) = (&mut trio.supernode.engine, trio.supernode.now);
        let mut out = Outbox::default();
        let mut relayed = 0;
        self.run(name, BURST, inputs, |datagrams| {
            out.clear();
            engine.handle_datagrams(now, datagrams, &mut out);
            relayed += datagrams.iter().filter(|(label, _)| label.onward.is_some()).count();
        });
        assert_eq!(relayed, batches(BURST) * BURST, "{name}");
    }
}

fn datagrams(from: &mut Member, to: &Member, count: usize, length: usize) -> Vec<Batch<Received>> {
    (0..batches(count)).map(|_| from.datagrams(to, count, length)).collect()
}

/// How many batches of `count` packets make a measurement.
fn batches(count: usize) -> usize {
    WARM + (SINGLE - WARM) / count.min(16)
}

/// Messages that are sealed together.
const TOGETHER: usize = 32;

/// Operations that grow buffers to the size they keep.
const WARM: usize = 4;

/// Operations on single packets: enough that one more or less for growing a buffer is not noticed.
const SINGLE: usize = WARM + 320;

/// A full frame at the default MTU.
const FULL: usize = Mtu::DEFAULT.bytes() as usize + packets::ETHERNET;

/// Ethernet, IPv4 and TCP headers.
const HEADERS: usize = 54;

/// Datagrams of one size that the kernel hands over as one, as far as 64 KB reach.
const BURST: usize = 45;

/// The length of a relayed datagram, near that of a full frame.
const RELAYED: usize = 1440;
