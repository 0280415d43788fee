use super::{super::messages::Watch, *};

/// What the kernel says of a frame besides its bytes.
#[derive(Clone, Copy)]
struct Beside {
    kind: u32,
    has_tag: bool,
}

const LEAVES: Beside = Beside {
    kind: OUTGOING,
    has_tag: false,
};

/// What a program lets through of a frame, in bytes; as the kernel runs it, a load beyond the end ends it.
fn run(program: &[sock_filter], frame: &[u8], beside: Beside) -> u32 {
    let (mut a, mut x, mut at) = (0u32, 0u32, 0usize);
    let bytes = |offset: u32, size: usize| -> Option<u32> {
        if offset == ancillary(libc::SKF_AD_PKTTYPE) {
            return Some(beside.kind);
        }
        if offset == ancillary(libc::SKF_AD_VLAN_TAG_PRESENT) {
            return Some(beside.has_tag.into());
        }
        let start = usize::try_from(offset).unwrap();
        let bytes = frame.get(start..start + size)?;
        Some(bytes.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
    };
    loop {
        let step = &program[at];
        at += 1;
        let code = u32::from(step.code);
        let size = match code & 0x18 {
            BPF_H => 2,
            BPF_B => 1,
            _ => 4,
        };
        let loaded = match code {
            _ if code & 7 == BPF_LD && code & 0xe0 == BPF_LEN => Some(u32::try_from(frame.len()).unwrap()),
            _ if code & 7 == BPF_LD && code & 0xe0 == BPF_ABS => bytes(step.k, size),
            _ if code & 7 == BPF_LD && code & 0xe0 == BPF_IND => bytes(x + step.k, size),
            _ if code == BPF_LDX | BPF_B | BPF_MSH => {
                let Some(byte) = bytes(step.k, 1) else { return 0 };
                x = (byte & 0xf) * 4;
                continue;
            }
            _ if code & 7 == BPF_RET => return step.k,
            _ if code & 7 == BPF_JMP => {
                let holds = match code & 0xf0 {
                    BPF_JA => {
                        at += usize::try_from(step.k).unwrap();
                        continue;
                    }
                    BPF_JEQ => a == step.k,
                    BPF_JGT => a > step.k,
                    BPF_JGE => a >= step.k,
                    BPF_JSET => a & step.k != 0,
                    other => panic!("{other:x}"),
                };
                at += usize::from(if holds { step.jt } else { step.jf });
                continue;
            }
            _ => panic!("{code:x}"),
        };
        match loaded {
            Some(value) => a = value,
            None => return 0,
        }
    }
}

/// A broadcast to a UDP port, behind IP options of `options` bytes.
fn search(port: u16, options: usize) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 1, 8, 0]);
    let mut ip = vec![0; 20 + options];
    ip[0] = 0x45 + u8::try_from(options / 4).unwrap();
    ip[6] = 0x40;
    ip[9] = 17;
    frame.extend(ip);
    frame.extend(50_000u16.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend([0, 12, 0, 0, 1, 2, 3, 4]);
    frame
}

fn passes(program: &[sock_filter], frame: &[u8]) -> bool {
    run(program, frame, LEAVES) != 0
}

fn of(ports: impl IntoIterator<Item = u16>) -> Vec<sock_filter> {
    program(Watch::new([], ports).ports())
}

#[test]
fn searches_to_the_ports_pass_whole_and_no_others() {
    let program = of([4445, 6112, 8303, 8304, 8305, 65535]);
    for port in [4445, 6112, 8303, 8304, 8305, 65535] {
        for options in [0, 4, 40] {
            let frame = search(port, options);
            assert!(
                run(&program, &frame, LEAVES) as usize >= frame.len(),
                "{port} {options}"
            );
        }
    }
    for port in [0, 1, 4444, 4446, 6111, 6113, 8302, 8306, 65534] {
        assert!(!passes(&program, &search(port, 0)), "{port}");
    }
    assert!(!passes(&of([]), &search(4445, 0)));
}

#[test]
fn only_what_leaves_untagged_for_a_group_and_unfragmented_passes() {
    let program = of([4445]);
    let good = search(4445, 0);
    assert!(passes(&program, &good));
    for kind in [0, 1, 2, 3, 5, 6] {
        assert_eq!(run(&program, &good, Beside { kind, ..LEAVES }), 0, "{kind}");
    }
    let tagged = Beside {
        has_tag: true,
        ..LEAVES
    };
    assert_eq!(run(&program, &good, tagged), 0);
    let bent = |at: usize, byte: u8| {
        let mut frame = good.clone();
        frame[at] = byte;
        passes(&program, &frame)
    };
    assert!(bent(0, 0x01) && bent(20, 0));
    // To one machine; of a VLAN; ARP; IPv6; TCP; more fragments; a later fragment, twice.
    for (at, byte) in [
        (0, 0xfe),
        (12, 0x81),
        (13, 6),
        (12, 0x86),
        (23, 6),
        (20, 0x20),
        (21, 1),
        (20, 0x5f),
    ] {
        assert!(!bent(at, byte), "{at} {byte:x}");
    }
    for cut in 0..38 {
        assert!(!passes(&program, &good[..cut]), "{cut}");
    }
    let mut long = good.clone();
    long.resize(LONGEST_FRAME, 0);
    assert!(passes(&program, &long));
    long.push(0);
    assert!(!passes(&program, &long));
}

#[test]
fn a_list_of_any_length_makes_a_program_that_the_kernel_takes() {
    // Every second port, of which the last ones become one range.
    let program = of((1..30_000).map(|port| port * 2));
    assert!(program.len() < 1600, "{}", program.len());
    for (port, expected) in [
        (2, true),
        (3, false),
        (1022, true),
        (1023, false),
        (59_998, true),
        (60_000, false),
    ] {
        assert_eq!(passes(&program, &search(port, 0)), expected, "{port}");
    }
}
