//! Step 2 of a turn for streams: what has come by them, and what became of them.

use super::{super::streams::Source, BYTES_PER_TURN, Loop, send_all};

impl Loop {
    /// What came by streams, and those that are new, stand now or have ended.
    pub(super) fn receive_by_streams(&mut self) {
        if self.ready.streams.is_empty() {
            return;
        }
        let mut ready = std::mem::take(&mut self.ready.streams);
        let now = self.now();
        for (source, writable) in ready.drain(..) {
            match source {
                Source::Listener(position) => {
                    self.streams.accept(now, position, &self.poller, &mut self.counters);
                }
                Source::Stream(number) if writable => self.streams.writable(now, number, &self.poller),
                Source::Stream(number) => self.streams.receive(number, &mut self.streamed, &mut self.counters),
            }
            if self.streamed.bytes() >= BYTES_PER_TURN {
                self.take_streamed();
            }
        }
        self.ready.streams = ready;
        self.take_streamed();
    }

    /// What came by a stream comes after its beginning and before its end.
    pub(super) fn take_streamed(&mut self) {
        self.tell_of_begun();
        if !self.streamed.is_empty() {
            self.engine
                .handle_datagrams(self.now(), &mut self.streamed, &mut self.outbox);
            let onward = self.streamed.onward();
            let onward = onward.map(|(transmit, datagram)| (*transmit, datagram));
            send_all(onward, (&mut self.underlay, &mut self.streams), &mut self.counters);
            self.flush();
            self.streamed.clear();
        }
        self.tell_of_ended();
    }

    /// Tells the engine which streams stand and which have ended.
    pub(super) fn tell_of_streams(&mut self) {
        self.tell_of_begun();
        self.tell_of_ended();
    }

    fn tell_of_begun(&mut self) {
        let now = self.now();
        for number in self.streams.take_begun() {
            self.engine.stream_opened(now, number);
            self.requested = true;
        }
    }

    fn tell_of_ended(&mut self) {
        let now = self.now();
        for number in self.streams.take_ended() {
            self.engine.stream_closed(now, number);
            self.requested = true;
        }
    }
}
