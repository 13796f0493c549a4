//! The client side of an HTTP/1 connection: a request to an endpoint, and its answer.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::connection::{Connection, HeadError};
use super::parse::{self, Limits};
use super::transfer::{Reader, Writer};
use super::write;
use crate::http::body::{Body, Sink};
use crate::http::head::{Length, ResponseHead};
use crate::http::outgoing::{Outgoing, RequestLine};

/// One connection to an endpoint; carries one exchange at a time.
pub struct Client {
    connection: Rc<Connection>,
    keep_alive: bool,
}

impl Client {
    /// Takes over a connected stream.
    pub fn new(connection: Rc<Connection>) -> Self {
        Self {
            connection,
            keep_alive: true,
        }
    }

    /// Writes a request head, to be flushed together with what the sink gets.
    pub fn send(&mut self, line: &RequestLine<'_>, head: &Outgoing<'_>) -> Sink {
        self.connection
            .write_later(|out| write::request_head(out, line, head));
        Sink::H1(Writer::new(Rc::clone(&self.connection), head.length))
    }

    /// The next response head, interim ones included; `None` when the endpoint closed without a byte of it.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        method: &::http::Method,
        limits: &Limits,
        head: &mut ResponseHead,
    ) -> Poll<Result<Option<()>, HeadError>> {
        let read = self
            .connection
            .poll_head(cx, |bytes| parse::response(bytes, limits, method, head));
        if let Poll::Ready(Ok(Some(()))) = read {
            // An interim head speaks for the connection too, and a later one does not take its word back.
            self.keep_alive &= head.keep_alive;
        }
        read
    }

    /// The body that follows the final head.
    pub fn body(&mut self, length: Length) -> Body {
        if length.is_empty() {
            self.connection.read_whole.set(true);
            return Body::Empty;
        }
        Body::H1(Reader::new(Rc::clone(&self.connection), length))
    }

    /// Leaves HTTP after a 101: both directions carry raw bytes from here on.
    pub fn switch(&mut self) -> (Body, Sink) {
        self.keep_alive = false;
        let reader = Reader::new(Rc::clone(&self.connection), Length::Close);
        (
            Body::H1(reader),
            Sink::H1(Writer::new(Rc::clone(&self.connection), Length::Close)),
        )
    }

    /// Whether the exchange left the connection fit for another: both messages whole, and both sides willing.
    pub fn is_reusable(&self) -> bool {
        let connection = &self.connection;
        self.keep_alive
            && connection.read_whole.get()
            && connection.written_whole.get()
            && !connection.has_unread()
            && !connection.has_ended()
    }

    /// Whether an idle connection is still open and silent. Costs no system call while nothing happened on it.
    pub fn is_alive(&self) -> bool {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        self.connection.poll_gone(&mut cx).is_pending() && !self.connection.has_unread()
    }

    /// The connection beneath.
    pub fn connection(&self) -> &Rc<Connection> {
        &self.connection
    }
}
