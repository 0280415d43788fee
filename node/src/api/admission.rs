//! Which requests are answered, by what stands before their bodies.
//!
//! On the loopback address every program of the machine can ask, and so can every page in a browser: directly, by a form,
//! an image or a script, and, once its own name points here (DNS rebinding), as if it came from this server. A proxy can
//! bring in whoever reaches the proxy. So a request must show the token, and be one that only farlan's own programs and
//! scripts made for it send: to this server's exact name, from no page, through nothing, JSON and nothing else.
//!
//! On the Unix socket the kernel says who asks, and no token is needed; all else holds there too, since a proxy in front
//! of it would speak for its own user.

use std::net::SocketAddr;

use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header, request::Parts};
use farlan_crypto::defects::planted;
use thiserror::Error;

use super::token::Token;
use crate::failure::{Failure, FailureKind};

/// Where a request came in.
#[derive(Debug)]
pub(super) enum Entrance {
    /// Over a Unix socket, by a caller who may use it.
    Socket,
    /// Over TCP, at this loopback address.
    Loopback {
        /// The address that is served.
        address: SocketAddr,
        /// What a request must show.
        token: Token,
    },
}

/// Whether a request is answered.
///
/// # Errors
/// The first reason against it.
pub(super) fn admit(request: &Parts, entrance: &Entrance) -> Result<(), Refusal> {
    if request.method != Method::GET && request.method != Method::POST {
        return Err(Refusal::Method);
    }
    if request.uri.scheme().is_some() || request.uri.authority().is_some() || !request.uri.path().starts_with('/') {
        return Err(Refusal::Target);
    }
    if request.uri.query().is_some() {
        return Err(Refusal::Query);
    }
    let headers = &request.headers;
    if !host_fits(headers, entrance) && !planted("host-unchecked") {
        return Err(Refusal::Host);
    }
    if from_a_page(headers) && !planted("origin-unchecked") {
        return Err(Refusal::Page);
    }
    if PROXIES.iter().any(|name| headers.contains_key(name)) {
        return Err(Refusal::Proxy);
    }
    if headers.contains_key(header::UPGRADE) || headers.contains_key("sec-websocket-key") {
        return Err(Refusal::Upgrade);
    }
    if let Entrance::Loopback { token, .. } = entrance
        && !token_fits(headers, token)
        && !planted("token-unchecked")
    {
        return Err(Refusal::Token);
    }
    if request.method == Method::POST && !is_json(headers) {
        return Err(Refusal::NotJson);
    }
    match body_length(headers) {
        Some(length) if length > LONGEST_BODY as u64 => Err(Refusal::TooLong),
        None => Err(Refusal::TooLong),
        Some(_) => Ok(()),
    }
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Refusal {
    /// Neither GET nor POST; a browser's question whether it may ask (OPTIONS) gets no yes.
    #[error("only GET and POST are answered here")]
    Method,
    /// A whole URL, as one asks a proxy.
    #[error("the request names a server in its first line, as for a proxy; this is none")]
    Target,
    /// No request of the API has one.
    #[error("no request of this API has a query (what follows `?`); a token belongs into the header Authorization")]
    Query,
    /// Another name than this server's, none, or several.
    #[error("the header Host is not exactly the name of this API")]
    Host,
    /// A page in a browser made it.
    #[error("pages in a browser are not answered (a header Origin, Referer or Sec-Fetch-… says that one asks)")]
    Page,
    /// It came through a proxy.
    #[error("requests through a proxy are not answered")]
    Proxy,
    /// It is to become another protocol, WebSocket for instance.
    #[error("no other protocol is spoken here")]
    Upgrade,
    /// No token, a wrong one, or several.
    #[error(
        "the header Authorization does not hold this run's token; it is in the file beside the socket (--token-file)"
    )]
    Token,
    /// A form, plain text, or anything but JSON.
    #[error("requests must be application/json")]
    NotJson,
    /// The body is longer than anything the API takes.
    #[error("the request's body is too long")]
    TooLong,
    /// The body did not come in time, or not whole.
    #[error("the request's body did not come")]
    Incomplete,
    /// Somebody who may not use the socket.
    #[error(
        "this user may not use farlan here; add yourself to the group farlan (sudo usermod -aG farlan $USER, then log in \
         again), or use sudo"
    )]
    Caller,
}

impl Refusal {
    /// The status of the answer.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Target | Self::Query | Self::Upgrade => StatusCode::BAD_REQUEST,
            Self::Host | Self::Page | Self::Proxy | Self::Caller => StatusCode::FORBIDDEN,
            Self::Token => StatusCode::UNAUTHORIZED,
            Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Incomplete => StatusCode::REQUEST_TIMEOUT,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::Host | Refusal::Page | Refusal::Proxy | Refusal::Token | Refusal::Caller => {
                FailureKind::Permission
            }
            Refusal::Incomplete => FailureKind::Timeout,
            Refusal::Method
            | Refusal::Target
            | Refusal::Query
            | Refusal::Upgrade
            | Refusal::NotJson
            | Refusal::TooLong => FailureKind::Usage,
        };
        Self {
            kind,
            message: refusal.to_string(),
        }
    }
}

/// Bytes of the longest body: the longest link, quoted, and some room.
pub(super) const LONGEST_BODY: usize = 128 * 1024;

/// Names of the Unix socket: that which farlan's own programs use, and the usual one of scripts.
const SOCKET_NAMES: [&str; 2] = ["farlan", "localhost"];

/// Headers by which proxies tell for whom they ask (RFC 9110 §7.6.3, RFC 7239, and what came before it).
const PROXIES: [HeaderName; 6] = [
    header::VIA,
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];

/// Headers that browsers set and pages cannot remove (Fetch Metadata): they tell of images, scripts and forms that carry
/// neither Origin nor Referer.
const FETCHES: [HeaderName; 3] = [
    HeaderName::from_static("sec-fetch-site"),
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-dest"),
];

/// Exactly one Host, and exactly what a client that means this server writes.
fn host_fits(headers: &HeaderMap, entrance: &Entrance) -> bool {
    let Some(host) = only(headers, &header::HOST) else {
        return false;
    };
    match entrance {
        Entrance::Socket => SOCKET_NAMES.iter().any(|name| host == name.as_bytes()),
        Entrance::Loopback { address, .. } => {
            host == address.to_string().as_bytes() || host == format!("localhost:{}", address.port()).as_bytes()
        }
    }
}

fn from_a_page(headers: &HeaderMap) -> bool {
    let told = |name: &HeaderName| headers.get_all(name).iter().any(|value| !value.is_empty());
    told(&header::ORIGIN) || told(&header::REFERER) || FETCHES.iter().any(|name| headers.contains_key(name))
}

fn token_fits(headers: &HeaderMap, token: &Token) -> bool {
    only(headers, &header::AUTHORIZATION)
        .and_then(|value| value.strip_prefix(b"Bearer "))
        .is_some_and(|shown| token.matches(shown))
}

/// Whether the one Content-Type is JSON, of whatever parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let essence = |value: &[u8]| value.split(|&byte| byte == b';').next().map(<[u8]>::to_vec);
    only(headers, &header::CONTENT_TYPE)
        .and_then(essence)
        .is_some_and(|essence| essence.trim_ascii().eq_ignore_ascii_case(b"application/json"))
}

/// How long the body is said to be, 0 where nothing is said; none if that is no number.
fn body_length(headers: &HeaderMap) -> Option<u64> {
    match headers.get(header::CONTENT_LENGTH) {
        None => Some(0),
        Some(length) => length.to_str().ok()?.parse().ok(),
    }
}

/// The value of a header that stands there once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
}

#[cfg(test)]
mod tests;
