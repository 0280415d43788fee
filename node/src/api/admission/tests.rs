use axum::{
    body::Body,
    http::{HeaderValue, Request},
};
use proptest::prelude::*;

use super::*;

const ADDRESS: &str = "127.0.0.1:9601";

fn loopback(address: &str) -> Entrance {
    Entrance::Loopback {
        address: address.parse().unwrap(),
        token: Token::new().unwrap(),
    }
}

/// A request for what may be asked, with these headers.
fn request(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap().into_parts().0
}

/// What farlan's own program sends to `entrance`.
fn proper(method: &str, entrance: &Entrance) -> Parts {
    let mut parts = request(method, "/v1/status", &[("content-type", "application/json")]);
    match entrance {
        Entrance::Socket => set(&mut parts, "host", "farlan"),
        Entrance::Loopback { address, token } => {
            set(&mut parts, "host", &address.to_string());
            set(&mut parts, "authorization", &token.header());
        }
    }
    parts
}

fn set(parts: &mut Parts, name: &'static str, value: &str) {
    parts.headers.insert(name, HeaderValue::from_str(value).unwrap());
}

fn add(parts: &mut Parts, name: &'static str, value: &str) {
    parts.headers.append(name, HeaderValue::from_str(value).unwrap());
}

fn entrances() -> [Entrance; 3] {
    [Entrance::Socket, loopback(ADDRESS), loopback("[::1]:9601")]
}

/// The verdict on a proper request of which `bend` changed something.
fn bent(method: &str, entrance: &Entrance, bend: impl Fn(&mut Parts)) -> Result<(), Refusal> {
    let mut parts = proper(method, entrance);
    assert_eq!(admit(&parts, entrance), Ok(()), "without the change it is admitted");
    bend(&mut parts);
    admit(&parts, entrance)
}

#[test]
fn what_farlans_own_program_sends_is_admitted() {
    for entrance in entrances() {
        for method in ["GET", "POST"] {
            assert_eq!(admit(&proper(method, &entrance), &entrance), Ok(()));
        }
        // curl, with nothing but what it must have.
        let curl = bent("GET", &entrance, |parts| {
            parts.headers.remove(header::CONTENT_TYPE);
            set(parts, "accept", "*/*");
            set(parts, "user-agent", "curl/8.14.1");
        });
        assert_eq!(curl, Ok(()));
        for json in ["application/json; charset=utf-8", "Application/JSON"] {
            assert_eq!(
                bent("POST", &entrance, |parts| set(parts, "content-type", json)),
                Ok(())
            );
        }
    }
    for (entrance, name) in [(loopback(ADDRESS), "localhost:9601"), (Entrance::Socket, "localhost")] {
        assert_eq!(bent("GET", &entrance, |parts| set(parts, "host", name)), Ok(()));
    }
}

/// A name that an attacker lets point to this machine is not this API's name.
#[test]
fn only_the_exact_host_is_admitted() {
    let foreign = [
        "",
        "evil.example",
        "evil.example:9601",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.2:9601",
        "127.0.0.1:9601.",
        "127.0.0.1:9601.evil.example",
        "evil.127.0.0.1:9601",
        "user@127.0.0.1:9601",
        "127.0.0.1:09601",
        "127.1:9601",
        "2130706433:9601",
        "0.0.0.0:9601",
        "localhost.:9601",
        "LOCALHOST:9601",
        "localhost:9602",
        "[::ffff:127.0.0.1]:9601",
        "[0::1]:9601",
        "::1:9601",
        "farlan.",
        "farlan:9601",
        "localhost:80",
    ];
    for entrance in entrances() {
        for host in foreign {
            let verdict = bent("GET", &entrance, |parts| set(parts, "host", host));
            assert_eq!(verdict, Err(Refusal::Host), "{host:?} at {entrance:?}");
        }
        let verdict = bent("GET", &entrance, |parts| drop(parts.headers.remove(header::HOST)));
        assert_eq!(verdict, Err(Refusal::Host), "none");
        for second in ["farlan", "localhost", ADDRESS, "[::1]:9601", "evil.example"] {
            let verdict = bent("GET", &entrance, |parts| add(parts, "host", second));
            assert_eq!(verdict, Err(Refusal::Host), "two");
        }
    }
    // The name of one is none of another.
    let hosts = ["farlan", ADDRESS, "[::1]:9601"];
    for (i, entrance) in entrances().iter().enumerate() {
        for (j, host) in hosts.iter().enumerate() {
            let verdict = bent("GET", entrance, |parts| set(parts, "host", host));
            assert_eq!(verdict.is_ok(), i == j, "{host} at {entrance:?}");
        }
    }
}

#[test]
fn pages_in_a_browser_are_refused() {
    let told = [
        ("origin", "https://evil.example"),
        ("origin", "null"),
        ("origin", "http://127.0.0.1:9601"),
        ("referer", "https://evil.example/page"),
        ("referer", "http://127.0.0.1:9601/"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-origin"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-dest", "image"),
    ];
    for entrance in entrances() {
        for (name, value) in told {
            for method in ["GET", "POST"] {
                let verdict = bent(method, &entrance, |parts| set(parts, name, value));
                assert_eq!(verdict, Err(Refusal::Page), "{name}: {value}");
            }
        }
        // The first is empty, the second tells.
        let verdict = bent("GET", &entrance, |parts| {
            set(parts, "origin", "");
            add(parts, "origin", "https://evil.example");
        });
        assert_eq!(verdict, Err(Refusal::Page));
    }
}

#[test]
fn without_exactly_the_token_nothing_is_answered_over_tcp() {
    let entrance = loopback(ADDRESS);
    let Entrance::Loopback { token, .. } = &entrance else {
        panic!("it is over TCP");
    };
    let right = token.header();
    let digits = right.strip_prefix("Bearer ").unwrap();
    let other = Token::new().unwrap().header();
    let wrong = [
        String::new(),
        "Bearer".into(),
        "Bearer ".into(),
        other.to_string(),
        digits.to_owned(),
        right[..right.len() - 1].to_owned(),
        format!("{}0", *right),
        format!("{}, {}", *right, *right),
        format!("Bearer  {digits}"),
        format!("bearer {digits}"),
        format!("Basic {digits}"),
    ];
    for value in wrong {
        let verdict = bent("GET", &entrance, |parts| set(parts, "authorization", &value));
        assert_eq!(verdict, Err(Refusal::Token), "{value}");
    }
    let none = bent("GET", &entrance, |parts| {
        drop(parts.headers.remove(header::AUTHORIZATION))
    });
    assert_eq!(none, Err(Refusal::Token));
    let two = bent("GET", &entrance, |parts| add(parts, "authorization", &other));
    assert_eq!(two, Err(Refusal::Token));
    let elsewhere = bent("GET", &entrance, |parts| {
        parts.headers.remove(header::AUTHORIZATION);
        set(parts, "cookie", digits);
        set(parts, "proxy-authorization", &right);
    });
    assert_eq!(elsewhere, Err(Refusal::Token));
}

#[test]
fn a_token_in_the_address_is_of_no_use() {
    for entrance in entrances() {
        for query in ["?token=00", "?callback=f", "?"] {
            let verdict = bent("GET", &entrance, |parts| {
                parts.uri = format!("/v1/status{query}").parse().unwrap();
            });
            assert_eq!(verdict, Err(Refusal::Query), "{query}");
        }
    }
}

#[test]
fn what_a_form_can_send_is_refused() {
    for entrance in entrances() {
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "text/json",
            "application/ld+json",
            "text/plain; application/json",
            "",
        ] {
            let verdict = bent("POST", &entrance, |parts| set(parts, "content-type", kind));
            assert_eq!(verdict, Err(Refusal::NotJson), "{kind}");
        }
        let none = bent("POST", &entrance, |parts| {
            drop(parts.headers.remove(header::CONTENT_TYPE))
        });
        assert_eq!(none, Err(Refusal::NotJson));
        let two = bent("POST", &entrance, |parts| add(parts, "content-type", "text/plain"));
        assert_eq!(two, Err(Refusal::NotJson));
    }
}

#[test]
fn proxies_other_protocols_and_other_methods_are_refused() {
    for entrance in entrances() {
        for (name, value) in [
            ("via", "1.1 proxy"),
            ("forwarded", "for=192.0.2.1"),
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "192.0.2.1"),
        ] {
            let verdict = bent("GET", &entrance, |parts| set(parts, name, value));
            assert_eq!(verdict, Err(Refusal::Proxy), "{name}");
        }
        for target in ["http://evil.example/v1/status", "http://127.0.0.1:9601/v1/status", "*"] {
            let verdict = bent("GET", &entrance, |parts| parts.uri = target.parse().unwrap());
            assert_eq!(verdict, Err(Refusal::Target), "{target}");
        }
        for (name, value) in [("upgrade", "websocket"), ("upgrade", "h2c"), ("sec-websocket-key", "x")] {
            let verdict = bent("GET", &entrance, |parts| set(parts, name, value));
            assert_eq!(verdict, Err(Refusal::Upgrade), "{name}");
        }
        for method in [
            "OPTIONS", "HEAD", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "get", "FARLAN",
        ] {
            let verdict = bent("GET", &entrance, |parts| parts.method = method.parse().unwrap());
            assert_eq!(verdict, Err(Refusal::Method), "{method}");
        }
    }
}

#[test]
fn bodies_have_a_bound() {
    for entrance in entrances() {
        let long = LONGEST_BODY + 1;
        for length in [&long.to_string(), "18446744073709551616", "-1", "x"] {
            let verdict = bent("POST", &entrance, |parts| set(parts, "content-length", length));
            assert_eq!(verdict, Err(Refusal::TooLong), "{length}");
        }
        let fits = bent("POST", &entrance, |parts| {
            set(parts, "content-length", &LONGEST_BODY.to_string())
        });
        assert_eq!(fits, Ok(()));
    }
}

#[test]
fn every_refusal_is_a_failure_with_a_reason() {
    for refusal in [
        Refusal::Method,
        Refusal::Target,
        Refusal::Query,
        Refusal::Host,
        Refusal::Page,
        Refusal::Proxy,
        Refusal::Upgrade,
        Refusal::Token,
        Refusal::NotJson,
        Refusal::TooLong,
        Refusal::Incomplete,
        Refusal::Caller,
    ] {
        assert!(refusal.status().is_client_error(), "{refusal:?}");
        assert!(!Failure::from(refusal).message.is_empty());
    }
    for permission in [Refusal::Host, Refusal::Page, Refusal::Token, Refusal::Caller] {
        assert_eq!(Failure::from(permission).kind, FailureKind::Permission);
    }
}

/// Names that matter, and values that are near to right.
fn arbitrary_header() -> impl Strategy<Value = (&'static str, Vec<u8>)> {
    let name = prop::sample::select(vec![
        "host",
        "authorization",
        "origin",
        "referer",
        "content-type",
        "content-length",
        "cookie",
        "sec-fetch-site",
        "via",
        "upgrade",
        "accept",
    ]);
    let value = prop_oneof![
        prop::sample::select(vec![
            "",
            ADDRESS,
            "localhost:9601",
            "farlan",
            "localhost",
            "null",
            "evil.example",
            "Bearer ",
            "Bearer 0",
            "0",
            "application/json",
            "text/plain",
            "http://127.0.0.1:9601",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(prop_oneof![Just(b'\t'), 0x20..0x7f_u8, 0x80..=0xff_u8], 0..80),
    ];
    (name, value)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    /// The rule, once more and by other means: however a request is made up, it passes only with this host once, from no
    /// page, and with the token, which no header here happens to hold.
    #[test]
    fn no_headers_pass_without_host_and_token(
        over_tcp: bool,
        post: bool,
        hosted in 0..4_u8,
        shown in 0..4_u8,
        headers in prop::collection::vec(arbitrary_header(), 0..4),
    ) {
        let entrance = if over_tcp { loopback(ADDRESS) } else { Entrance::Socket };
        let mut parts = proper(if post { "POST" } else { "GET" }, &entrance);
        if hosted == 0 {
            parts.headers.remove(header::HOST);
        }
        if shown == 0 {
            parts.headers.remove(header::AUTHORIZATION);
        }
        for (name, value) in &headers {
            parts.headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        let all = |name: &str| -> Vec<Vec<u8>> {
            parts.headers.get_all(name).iter().map(|value| value.as_bytes().to_vec()).collect()
        };
        let names: &[&[u8]] = if over_tcp { &[b"127.0.0.1:9601", b"localhost:9601"] } else { &[b"farlan", b"localhost"] };
        let host = all("host");
        let page = [all("origin"), all("referer")].concat().iter().any(|value| !value.is_empty());
        let token = match &entrance {
            Entrance::Socket => true,
            Entrance::Loopback { token, .. } => all("authorization") == [token.header().as_bytes().to_vec()],
        };
        let may = host.len() == 1 && names.contains(&host[0].as_slice()) && !page && token;
        let verdict = admit(&parts, &entrance);
        prop_assert!(may || verdict.is_err(), "{parts:?} is admitted");
        // With nothing added to what is proper, it is admitted.
        prop_assert!(!headers.is_empty() || !may || verdict.is_ok(), "{parts:?}: {verdict:?}");
    }
}
