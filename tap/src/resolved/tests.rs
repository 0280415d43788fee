use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::thread;

use super::*;
use crate::dbus::{HEAD, answer_to, length};

fn address(ip: &str, prefix: u8) -> Address {
    Address {
        ip: ip.parse().unwrap(),
        prefix,
    }
}

#[test]
fn reverse_domains_cover_the_subnet_in_whole_labels() {
    let domains = |ip, prefix| reverse_domains(&address(ip, prefix));
    assert_eq!(domains("10.77.3.1", 8), ["10.in-addr.arpa"]);
    assert_eq!(domains("10.77.3.1", 24), ["3.77.10.in-addr.arpa"]);
    let twenty = domains("10.128.26.7", 20);
    assert_eq!(twenty.len(), 16);
    assert_eq!(
        (&*twenty[0], &*twenty[15]),
        ("16.128.10.in-addr.arpa", "31.128.10.in-addr.arpa")
    );
    let earth = domains("10.70.21.204", 10);
    assert_eq!(earth.len(), 64);
    assert_eq!((&*earth[0], &*earth[63]), ("64.10.in-addr.arpa", "127.10.in-addr.arpa"));
    assert_eq!(domains("192.168.7.18", 30).len(), 4);
    assert_eq!(domains("192.168.7.18", 30)[0], "16.7.168.192.in-addr.arpa");
    for prefix in 8..=30 {
        let count = domains("10.0.0.1", prefix).len();
        const { assert!(MOST_DOMAINS > 128) };
        assert!(count <= 128, "{prefix}: {count}");
    }
    assert_eq!(
        domains("fd89:64bd:72dd:db69::1", 48),
        ["d.d.2.7.d.b.4.6.9.8.d.f.ip6.arpa"]
    );
}

#[test]
fn the_calls_are_encoded_as_the_specification_has_it() {
    let calls = direct_calls(7, 5353, &[address("10.77.3.1", 24)]);
    let names: Vec<_> = calls.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        names,
        [
            "SetLinkDefaultRoute",
            "SetLinkDNSSEC",
            "SetLinkDNSOverTLS",
            "SetLinkDNSEx",
            "SetLinkDomains"
        ]
    );
    let body = |place: usize| format!("{:?}", calls[place].1);
    // link 7 | array of 19 bytes, aligned to 8 | family 2 | array of 4: 127.0.0.1 | port | empty text
    let server = [
        7, 0, 0, 0, 19, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 127, 0, 0, 1, 0xe9, 0x14, 0, 0, 0, 0, 0, 0, 0,
    ];
    let expected = format!("Body {{ signature: \"ia(iayqs)\", bytes: {server:?} }}");
    assert_eq!(body(3), expected.replace("19, 0, 0, 0, 2", "21, 0, 0, 0, 2"));
    assert_eq!(body(0), "Body { signature: \"ib\", bytes: [7, 0, 0, 0, 0, 0, 0, 0] }");
}

/// A bus that answers each call with what `answer` says, and hands back the names of the methods.
fn bus(answers: Vec<Vec<u8>>) -> (tempfile::TempDir, thread::JoinHandle<Vec<Vec<u8>>>) {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("bus")).unwrap();
    let served = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            line.push(byte[0]);
        }
        assert!(line.starts_with(b"\0AUTH EXTERNAL "));
        stream.write_all(b"OK 1234deadbeef\r\n").unwrap();
        stream.read_exact(&mut [0; 7]).unwrap();
        let mut calls = Vec::new();
        for answer in answers {
            let mut head = [0; HEAD];
            if stream.read_exact(&mut head).is_err() {
                break;
            }
            let mut call = head.to_vec();
            call.resize(length(&head).unwrap(), 0);
            stream.read_exact(&mut call[HEAD..]).unwrap();
            calls.push(call);
            stream.write_all(&answer).unwrap();
        }
        calls
    });
    (directory, served)
}

/// An answer to call `serial`: done, or an error with a text.
fn answer(serial: u32, error: Option<(&str, &str)>) -> Vec<u8> {
    let mut fields = vec![5, 1, b'u', 0];
    fields.extend_from_slice(&serial.to_le_bytes());
    let mut body = Vec::new();
    if let Some((name, text)) = error {
        fields.extend_from_slice(&[4, 1, b's', 0]);
        fields.extend_from_slice(&u32::try_from(name.len()).unwrap().to_le_bytes());
        fields.extend_from_slice(name.as_bytes());
        fields.push(0);
        body.extend_from_slice(&u32::try_from(text.len()).unwrap().to_le_bytes());
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    let mut message = vec![b'l', if error.is_some() { 3 } else { 2 }, 1, 1];
    for number in [body.len(), 9, fields.len()] {
        message.extend_from_slice(&u32::try_from(number).unwrap().to_le_bytes());
    }
    message.extend_from_slice(&fields);
    message.resize(message.len().next_multiple_of(8), 0);
    message.extend_from_slice(&body);
    message
}

#[test]
fn a_card_is_directed_by_five_calls_that_start_nobody() {
    let answers = (1..=6).map(|serial| answer(serial, None)).collect();
    let (directory, served) = bus(answers);
    direct(&directory.path().join("bus"), 7, 5353, &[address("10.77.3.1", 24)]).unwrap();
    let calls = served.join().unwrap();
    assert_eq!(calls.len(), 6, "the greeting and five");
    let has = |call: &[u8], text: &str| call.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(calls.iter().all(|call| call[2] & 2 != 0));
    assert!(has(&calls[0], "Hello"));
    for text in ["SetLinkDomains", "farlan.internal", "3.77.10.in-addr.arpa"] {
        assert!(has(&calls[5], text), "{text}");
    }
}

#[test]
fn what_the_bus_says_is_the_reason() {
    let denied = answer(
        2,
        Some(("org.freedesktop.DBus.Error.AccessDenied", "Permission denied")),
    );
    let (directory, served) = bus(vec![answer(1, None), denied]);
    let error = revert(&directory.path().join("bus"), 7).unwrap_err();
    assert!(error.to_string().contains("Permission denied"), "{error}");
    drop(served);
    let nowhere = revert(Path::new("/nonexistent/bus"), 7).unwrap_err();
    assert!(nowhere.to_string().contains("the system's bus"), "{nowhere}");
}

#[test]
fn messages_about_something_else_are_no_answers() {
    assert!(matches!(answer_to(4, &answer(4, None)), Some(Ok(()))));
    assert!(answer_to(5, &answer(4, None)).is_none());
    for cut in 0..answer(4, None).len() {
        assert!(answer_to(4, &answer(4, None)[..cut]).is_none(), "{cut}");
    }
}
