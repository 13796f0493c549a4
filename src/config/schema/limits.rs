//! Keys that bound what clients may ask for.

use serde_json::{Value as Json, json};

use super::super::cursor::Reader;
use super::super::emit::Yaml;
use super::super::kinds::LimiterName;
use super::super::quantities::Size;
use super::super::setting::{Block, Book, Setting, block, with_default};
use super::super::tree::{Node, Value};
use super::AddressPrefix;

block! {
    /// How much a client may ask for. Each limit has an answer, so that memory stays bounded.
    pub struct ListenerLimits {
        /// Open connections of this listener, over all workers; more wait in the system's queue.
        pub connections: usize = 65_536, in 1..=10_000_000;
        /// Bytes of a request head, request line included; 431 beyond. Room for large cookies and
        /// tokens, as most servers give.
        pub head_bytes: usize as Size = 32 * 1024, in 1024..=1024 * 1024;
        /// Fields of a request head; 431 beyond.
        pub fields: usize = 100, in 1..=10_000;
        /// Bytes of a request body; 413 beyond. Off, because bodies are streamed and need no memory.
        pub body_bytes: Option<u64> as Option<Size> = None, in Some(0)..=Some(1 << 50);
        /// Bytes per second that a client has to send of an announced request body, and to take of an
        /// answer, over the time that it is waited for: 408 for a body that falls ten seconds behind,
        /// and an answer is cut. Who was faster before may be slower later by 64 KiB in all, because
        /// buffers on the way take as much of an answer at once. Judged when bytes move: a client of
        /// which nothing comes is cut after `timeouts.body`, one that takes nothing after `timeouts.idle`
        /// of the upstream, since healthy ones with large buffers let nothing move for half a minute,
        /// too. Slow enough for any link, as in Kestrel, and too fast for those who would hold a
        /// connection with a byte a minute.
        pub min_rate: Option<u64> as Option<Size> = Some(240), in Some(1)..=Some(1 << 50);
        /// Streams at once on one HTTP/2 connection. RFC 9113, 6.5.2 advises at least 100.
        pub streams: u32 = 128, in 1..=10_000;
        /// Open connections from one address, or from the address that a PROXY header tells, over all
        /// workers; more are closed at once. Off, because a company behind one address, or a balancer in
        /// front, is no attack.
        pub per_address: Option<usize> = None, in Some(1)..=Some(10_000_000);
        /// How much of an address `per_address` takes for one client.
        pub per_address_prefix: AddressPrefix = AddressPrefix::default();
        /// The names of limits that all requests of this listener are held to, before a route is looked for: of
        /// `rate_limits`, `concurrency_limits` and `bandwidth_limits`. None by default. `limits: [a, b]` is short for
        /// `limits: { apply: [a, b] }`.
        pub apply: Vec<String> as Vec<LimiterName> = Vec::new();
    }
}

with_default!(ListenerLimits);

/// A map of its keys, or the list of `apply` alone.
impl Setting for ListenerLimits {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::List(_) = &node.value else {
            return Self::read_block(node, reader);
        };
        let apply = Vec::<LimiterName>::read(node, reader)?;
        Some(Self {
            apply,
            ..Self::default()
        })
    }
    fn write(value: &Self) -> Yaml {
        value.write_block()
    }
    fn shape(book: &mut Book) -> Json {
        let names = Vec::<LimiterName>::shape(book);
        json!({ "anyOf": [book.refer::<Self>(), names] })
    }
}
