//! The doors of the fuzz targets. Compiled for the fuzzers and the tests alone.

use std::sync::OnceLock;

use axum::http::Request;

use super::{
    admission::{Entrance, LONGEST_BODY, admit},
    sockets::LoopbackAddress,
    token::Token,
};

/// Input: the head of a request: method and target, then a header a line, where `TOKEN` stands for the token's digits.
/// Over TCP it is admitted only with the token and the exact name of the API, each once; nowhere with what pages, forms
/// and proxies send. Whether it is admitted at the Unix socket, and over TCP.
///
/// # Panics
/// It is admitted otherwise.
pub fn head(input: &[u8]) -> [bool; 2] {
    let (socket, loopback, token) = entrances();
    let token = token.as_bytes();
    let mut lines = input.split(|&byte| byte == b'\n');
    let mut first = lines.next().unwrap_or_default().splitn(2, |&byte| byte == b' ');
    let (method, target) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
    let headers: Vec<(Vec<u8>, Vec<u8>)> = lines
        .filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            let value = match value.windows(5).position(|part| part == b"TOKEN") {
                Some(place) => [&value[..place], token, &value[place + 5..]].concat(),
                None => value.to_vec(),
            };
            Some((name.to_ascii_lowercase(), value))
        })
        .collect();
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in &headers {
        request = request.header(name.as_slice(), value.as_slice());
    }
    let Ok(request) = request.body(()) else {
        return [false; 2];
    };
    let parts = request.into_parts().0;

    // The rules once more, by other means.
    let all = |name: &str| -> Vec<&[u8]> {
        let named = headers.iter().filter(|(header, _)| header == name.as_bytes());
        named.map(|(_, value)| value.as_slice()).collect()
    };
    [
        (socket, ["farlan", "localhost"]),
        (loopback, [ADDRESS, "localhost:9601"]),
    ]
    .map(|(entrance, names)| {
        if admit(&parts, entrance).is_err() {
            return false;
        }
        let shown = String::from_utf8_lossy(input);
        assert!(method == b"GET" || method == b"POST", "{shown}");
        assert!(target.starts_with(b"/") && !target.contains(&b'?'), "{shown}");
        let host = all("host");
        assert!(
            host.len() == 1 && names.iter().any(|name| name.as_bytes() == host[0]),
            "{shown}"
        );
        if matches!(entrance, Entrance::Loopback { .. }) {
            assert_eq!(all("authorization"), [[b"Bearer ", token].concat()], "{shown}");
        }
        let told = [all("origin"), all("referer")].concat();
        assert!(told.iter().all(|value| value.is_empty()), "{shown}");
        for name in FORBIDDEN {
            assert!(all(name).is_empty(), "{name}: {shown}");
        }
        if method == b"POST" {
            let kind = all("content-type");
            let json = |kind: &[u8]| kind.to_ascii_lowercase().starts_with(b"application/json");
            assert!(kind.len() == 1 && json(kind[0]), "{shown}");
        }
        if let Some(length) = all("content-length").first() {
            let length: u64 = String::from_utf8_lossy(length).parse().expect("a number");
            assert!(length <= LONGEST_BODY as u64, "{shown}");
        }
        true
    })
}

/// Input: a text in the place of a token's file and of the address of the API. What is taken is written so that it is
/// read as the same.
///
/// # Panics
/// It is not.
pub fn access(text: &str) {
    if let Some(token) = Token::parse(text) {
        let digits = text.trim_end();
        assert!(digits.len() == 64 && token.matches(digits.as_bytes()));
        assert!(!token.matches(&digits.as_bytes()[1..]));
    }
    if let Ok(address) = LoopbackAddress::try_from(text.to_owned()) {
        assert!(address.address().ip().is_loopback() && address.address().port() != 0);
        assert_eq!(address.to_string(), text);
    }
}

/// Where the API is served.
const ADDRESS: &str = "127.0.0.1:9601";

/// Headers with which nothing is admitted, whatever they say.
const FORBIDDEN: [&str; 11] = [
    "sec-fetch-site",
    "sec-fetch-mode",
    "sec-fetch-dest",
    "via",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "upgrade",
    "sec-websocket-key",
];

/// The Unix socket, the loopback address, and the digits of its token.
fn entrances() -> (&'static Entrance, &'static Entrance, &'static str) {
    static MADE: OnceLock<(Entrance, String)> = OnceLock::new();
    let (loopback, digits) = MADE.get_or_init(|| {
        let token = Token::new().expect("the system has random numbers");
        let digits = token.header().trim_start_matches("Bearer ").to_owned();
        let address = ADDRESS.parse().expect("it is one");
        (Entrance::Loopback { address, token }, digits)
    });
    (&Entrance::Socket, loopback, digits)
}
