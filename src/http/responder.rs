//! What a server hands to the code that answers a request, and what that code hands back.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Context, Poll};

use super::body::{Body, Sink};
use super::buffers::Lent;
use super::h1;
use super::h1::parse::ParseError;
use super::h2;
use super::head::{RequestHead, Version};
use super::outgoing::Outgoing;
use crate::clock::Instant;
use crate::tls::Identity;

/// Who is at the other end of a downstream connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// `None` on a Unix socket.
    pub address: Option<IpAddr>,
    /// Port of the peer; 0 on a Unix socket.
    pub port: u16,
    /// The number of its listener, which no reload gives to another.
    pub listener: usize,
    /// Whether the client speaks TLS.
    pub tls: bool,
    /// The name that it asked for by TLS, in lower case.
    pub sni: Option<Box<str>>,
    /// Who it is by the certificate that it showed.
    pub identity: Option<Rc<Identity>>,
    /// The address as text, for logs.
    pub text: String,
    /// Where the client connected to; `None` on a Unix socket.
    pub local: Option<SocketAddr>,
    /// The address of the proxy that has told all this by a PROXY header, for logs.
    pub proxy: Option<Box<str>>,
}

/// One request, its body and the way to answer it.
pub struct Incoming {
    pub head: Lent<RequestHead>,
    /// When the first bytes of the head were read; `None`: they were all read at once, just now.
    pub begun: Option<Instant>,
    pub body: Body,
    pub responder: Responder,
    pub peer: Rc<Peer>,
}

/// Why a request was answered without being understood.
#[derive(Debug)]
pub enum Refusal {
    /// The head broke a rule.
    Parse(ParseError),
    /// The head was not complete in time.
    SlowHead,
}

/// Answers requests. Handed to the servers of both protocols; cloned for each connection.
pub trait Handler: Clone + 'static {
    /// Carries one exchange from its request head to the end of its answer. The future is a small one: connections keep room
    /// for it while they are idle, and HTTP/2 moves it into a task, which costs more above some 100 bytes.
    fn exchange(self, incoming: Incoming) -> impl Future<Output = ()> + Unpin + 'static;

    /// Answers what could not be understood. The connection is closed afterwards. `begun` is as of [`Incoming`].
    fn refuse(
        &self,
        refusal: Refusal,
        begun: Option<Instant>,
        responder: Responder,
        peer: Rc<Peer>,
    ) -> impl Future<Output = ()>;

    /// Takes note of an HTTP/2 connection that had to be cut because of what its client did.
    fn cut(&self, end: h2::End, peer: &Peer);

    /// Takes note of an HTTP/2 request that nobody was asked to answer.
    fn unheard(&self, why: h2::Unheard, peer: &Peer);
}

/// Writes the answer of one request.
pub enum Responder {
    H1(h1::server::Responder),
    H2(h2::server::Responder),
}

impl Responder {
    /// Writes an interim (1xx) response. Nothing is written to a client that speaks HTTP/1.0.
    pub fn interim(&mut self, status: u16, head: &Outgoing<'_>) {
        match self {
            Self::H1(responder) => responder.interim(status, head),
            Self::H2(responder) => responder.interim(status, head),
        }
    }

    /// Ready once interim responses were handed on.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::H1(responder) => responder.poll_flush(cx),
            Self::H2(_) => Poll::Ready(()),
        }
    }

    /// Writes the final head; the body goes into the sink. `reason` is written towards HTTP/1 only; when it is empty
    /// the phrase of the standard is.
    pub fn respond(self, status: u16, reason: &[u8], head: &Outgoing<'_>) -> Sink {
        match self {
            Self::H1(responder) => responder.respond(status, reason, head),
            Self::H2(responder) => responder.respond(status, head),
        }
    }

    /// Agrees to the switch of protocols that the request asked for: 101 in HTTP/1.1, 200 to the extended CONNECT of
    /// HTTP/2. From here on both directions carry raw bytes.
    pub fn switch(self, head: &Outgoing<'_>, body: &mut Body) -> Sink {
        match self {
            Self::H1(responder) => responder.switch(head, body),
            Self::H2(responder) => responder.switch(head),
        }
    }

    /// The connection will carry no further request after this answer.
    pub fn close_after(&mut self) {
        match self {
            Self::H1(responder) => responder.close_after(),
            Self::H2(_) => {}
        }
    }

    /// Ready when the client has left. Only while no body of the request is being read.
    pub fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::H1(responder) => responder.poll_gone(cx),
            Self::H2(responder) => responder.poll_gone(cx),
        }
    }

    /// The version that the client speaks.
    pub fn version(&self) -> Version {
        match self {
            Self::H1(responder) => responder.version(),
            Self::H2(_) => Version::Http2,
        }
    }
}
