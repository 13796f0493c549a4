//! Keys of a route that make it safe to repeat its requests.

use std::time::Duration;

use serde_json::Value as Json;

use super::{HOUR, YEAR, millis, seconds};
use crate::config::cursor::Reader;
use crate::config::emit::Yaml;
use crate::config::kinds::{AtLeastOne, FieldName, Method};
use crate::config::quantities::Size;
use crate::config::setting::{Book, Setting, block, choice, with_default, written_as_map};
use crate::config::tree::Node;

block! {
    /// Executes a request with a key once, and answers its repeats with the first result.
    ///
    /// The whole request is read before it is forwarded, and the whole result before it is given to
    /// the client. What the client does meanwhile changes nothing: the execution runs on when it
    /// leaves or `total` of the upstream ends. `first_byte` does not hold, unless
    /// `backend_deduplicates`; after `total` the client gets 504, and the result with its repeat.
    /// Every status of an endpoint is a result, 5xx included, as the draft has it. Where no byte was
    /// sent (no connection, no capacity) nothing is kept, and a repeat is executed. Where the
    /// outcome was lost the key is unknown: repeats get 409 until `ttl` ends, and are never executed.
    /// A repeat is known by its key together with the route, method, host, path, who the client was found
    /// to be (`auth`, a client certificate) and `credentials`; with another body or query it is 422.
    /// Trailers of such requests are left out.
    /// Everything is kept in the memory of this process: a restart forgets it, and several proxies do
    /// not share it.
    pub struct Idempotency {
        /// The header field of the key, a string in quotation marks or a bare word. That of the
        /// draft (draft-ietf-httpapi-idempotency-key-header-07).
        pub header: String as FieldName = "Idempotency-Key".to_owned();
        /// Whether a request without a key is answered with 400. Not by default, so that the key can
        /// be introduced client by client.
        pub required: bool = false;
        /// Methods in whose requests a key is looked for. Those that are neither safe nor idempotent,
        /// as the draft says; PUT and DELETE may be added, safe methods may not.
        pub methods: Vec<String> as AtLeastOne<KeyedMethod> = vec!["POST".to_owned(), "PATCH".to_owned()];
        /// Header fields by which clients are told apart, so that none is answered with the result of
        /// another, besides the name that `auth` of the route found and a client certificate. Those that
        /// HTTP has for it; name your own, such as `X-Api-Key`, where the endpoint judges them. A cookie that
        /// the application changes between a request and its repeat makes the repeat a new request:
        /// where clients have `Authorization`, that alone is enough. Cookies of `sticky` do not
        /// count. Only hashes are kept.
        pub credentials: Vec<String> as Vec<FieldName> = vec!["Authorization".to_owned(), "Cookie".to_owned()];
        /// Bytes of a key; 400 beyond. Room for any identifier in use, a UUID has 36.
        pub key_bytes: usize as Size = 255, in 16..=4096;
        /// Bytes of the body of a keyed request; 413 beyond. It is held until its result is known.
        /// Those held at the same time may take as much as `bytes`, besides results; 503 beyond,
        /// whatever `on_store_failure` says: it is about keys, not about memory. 1 MiB is far above
        /// what a form or a JSON document needs.
        pub request_bytes: usize as Size = 1024 * 1024, in 0..=64 * 1024 * 1024;
        /// How long a key is known, from the moment when the outcome of its request is. A day, as
        /// those do who introduced such keys: longer than any client retries by itself.
        pub ttl: Duration = seconds(24 * 3600), in seconds(1)..=YEAR;
        /// Keys of this route, over all workers. Beyond, the oldest one with an outcome is forgotten,
        /// so that a repeat of its request would be executed again: an event tells. Each takes
        /// about 200 bytes besides its result.
        pub entries: usize = 10_000, in 1..=10_000_000;
        /// Memory for results of this route. Beyond, the oldest result makes room and its key becomes
        /// unknown: an event tells. The same again for the bodies of requests that are waited for, at
        /// least `request_bytes`.
        pub bytes: usize as Size = 64 * 1024 * 1024, in 1024..=1024 * 1024 * 1024 * 1024;
        /// Body bytes of the largest result that is kept. A larger one reaches the client that is
        /// there for it, and the key becomes unknown. 1 MiB is 64 of the largest in the default of
        /// `bytes`.
        pub body_bytes: usize as Size = 1024 * 1024, in 0..=1024 * 1024 * 1024;
        /// How long an execution may run on after its client has left or was answered with 504.
        /// After it the key is unknown. As long as `total` by default, so that even an endpoint that
        /// needs twice the time is heard.
        pub result_wait: Duration = seconds(30), in millis(1)..=HOUR;
        /// What a request gets whose first one is still running: `wait` or `conflict`.
        pub on_duplicate: OnDuplicate = OnDuplicate::Wait;
        /// What a request gets when there is no room for its key, because as many as `entries` are
        /// running: `closed` or `open`. Closed by default: who asks for protection relies on it.
        pub on_store_failure: OnStoreFailure = OnStoreFailure::Closed;
        /// The endpoints execute a key only once themselves. The request is then tried elsewhere as
        /// those of idempotent methods are, and a lost outcome leaves the key free, so that a repeat
        /// is sent to them. Not by default, because an endpoint that does not would execute twice.
        pub backend_deduplicates: bool = false;
        /// The field, `true`, by which a result is told that was kept. Its usual name, which
        /// client libraries know; the draft has none. Off: none.
        pub replayed_header: Option<String> as Option<FieldName> = Some("Idempotent-Replayed".to_owned());
    }
}

choice! {
    /// What a request gets whose first one is still running.
    pub enum OnDuplicate, "an answer to duplicates" {
        /// It waits for the result, for as long as `total` of the upstream; 409 after it.
        Wait = "wait",
        /// 409 at once, as the draft asks of servers that do not wait.
        Conflict = "conflict",
    }
}

choice! {
    /// What a request gets when there is no room for its key.
    pub enum OnStoreFailure, "a behaviour" {
        /// It is executed without protection.
        Open = "open",
        /// 503.
        Closed = "closed",
    }
}

/// A method that may have keys.
pub(crate) struct KeyedMethod;

impl Setting<String> for KeyedMethod {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
        let method = <Method as Setting<String>>::read(node, reader)?;
        if matches!(&*method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "CONNECT") {
            let help = "keys are for methods that change something, such as `POST`";
            reader.error_with_help(node, "requests of this method need no key", help);
            return None;
        }
        Some(method)
    }
    fn write(value: &String) -> Yaml {
        <Method as Setting<String>>::write(value)
    }
    fn shape(book: &mut Book) -> Json {
        <Method as Setting<String>>::shape(book)
    }
}

written_as_map!(Idempotency);
with_default!(Idempotency);
