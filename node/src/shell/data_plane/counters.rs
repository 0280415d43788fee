//! What the shell counts.

macro_rules! shell_counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// What the shell dropped and why, since the start.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct ShellCounters {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl ShellCounters {
            /// Names and values, in a fixed order.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }

            /// What a counter counts, in a sentence; nothing if there is none of that name.
            pub fn meaning(name: &str) -> Option<&'static str> {
                match name {
                    $(stringify!($name) => Some(concat!($($doc),*).trim_ascii()),)*
                    // The daemon adds what the kernel counts on the present cards.
                    "card_dropped" => Some("Frames that the kernel dropped on their way from the cards to the daemon."),
                    _ => None,
                }
            }
        }
    };
}

shell_counters! {
    /// Datagrams not sent because the socket's queue was full.
    underlay_full,
    /// Datagrams that came while the socket's receive buffer was full, as the kernel counts them.
    underlay_overrun,
    /// Datagrams that the system refused to send: no route, too large for the link.
    underlay_refused,
    /// Datagrams not sent because no further socket could be opened.
    underlay_no_socket,
    /// Streams accepted.
    streams_accepted,
    /// Streams not accepted, or not kept, because there are enough by which nodes came, in all or of one /24 or /56.
    streams_over_limit,
    /// Streams by which nothing authentic had come, ended because others came.
    streams_gave_way,
    /// Streams ended because what came was no stream of datagrams, or nothing at all.
    streams_malformed,
    /// Streams ended because the other end took nothing.
    streams_stalled,
    /// Datagrams not sent because too much waited in their stream.
    stream_full,
    /// Frames that a card did not take: it is down, or they are no frames.
    card_refused,
    /// Frames for a network whose card does not exist (yet).
    card_missing,
    /// Frames from a card that were longer than its MTU allows.
    card_overlong,
    /// Frames from a card whose header said what does not fit them.
    card_malformed,
    /// Events nobody took in time.
    events_dropped,
}
