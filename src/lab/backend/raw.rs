//! Answers over HTTP/1.1 that a well-behaved server library does not write: interim ones, trailers unasked for,
//! broken ones, and tunnels. Taken over from hyper once it has read the request.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::HeaderValue;
use tokio::io::{AsyncWriteExt, copy, split};

use super::socket::Socket;
use super::{InFlight, payload, websocket};

/// What is done with the connection.
pub(super) enum Act {
    /// 103, a pause, the label.
    Early { pause: Duration, body: Bytes },
    /// A chunked body, then these fields.
    Trailers {
        body: Bytes,
        trailers: Vec<(&'static str, String)>,
    },
    /// This many bytes of a longer body, then the end of the stream.
    Drop { after: u64, chunked: bool },
    /// A TCP reset, after this many bytes of a body or before the answer.
    Reset { after: Option<u64> },
    /// A head that announces so many bytes, some of them, and the end of the connection.
    Broken {
        announced: usize,
        sent: Bytes,
        reset: bool,
    },
    /// What is no HTTP instead of an answer.
    Garbage,
    /// The end of the stream instead of an answer.
    Gone,
    /// The upgrade is accepted with this answer and frames are echoed.
    WebSocket { accept: String },
    /// The upgrade, or with `None` the CONNECT, is accepted and bytes are echoed.
    Tunnel { protocol: Option<HeaderValue> },
}

/// A request that is answered by hand.
pub(super) struct Raw {
    pub(super) act: Act,
    pub(super) label: HeaderValue,
    /// Whether the client lets the connection go on afterwards.
    pub(super) keep_alive: bool,
    pub(super) in_flight: InFlight,
}

impl Raw {
    /// Gives the connection back when another request may follow.
    pub(super) async fn perform(self, mut socket: Socket) -> io::Result<Option<Socket>> {
        match &self.act {
            Act::Early { pause, body } => {
                send(&mut socket, EARLY_HINTS).await?;
                if !pause.is_zero() {
                    tokio::time::sleep(*pause).await;
                }
                let length = format!("Content-Length: {}\r\n\r\n", body.len());
                let mut out = self.head("200 OK", &length);
                out.extend_from_slice(body);
                send(&mut socket, &out).await?;
            }
            Act::Trailers { body, trailers } => {
                let mut out = self.head("200 OK", "Transfer-Encoding: chunked\r\n");
                push_trailed(&mut out, body, trailers);
                send(&mut socket, &out).await?;
            }
            _ => return self.perform_last(socket).await.map(|()| None),
        }
        drop(self.in_flight);
        if self.keep_alive {
            return Ok(Some(socket));
        }
        socket.shutdown().await?;
        Ok(None)
    }

    /// Those after which the connection carries no other request.
    async fn perform_last(self, mut socket: Socket) -> io::Result<()> {
        match &self.act {
            Act::Drop { after, chunked } => {
                send(&mut socket, &self.broken(*after, *chunked)).await?;
            }
            Act::Reset { after } => {
                if let Some(after) = after {
                    send(&mut socket, &self.broken(*after, false)).await?;
                }
                return socket.transport.reset_on_close();
            }
            Act::Broken {
                announced,
                sent,
                reset,
            } => {
                let length = format!("Content-Length: {announced}\r\n\r\n");
                let mut out = self.head("200 OK", &length);
                out.extend_from_slice(sent);
                send(&mut socket, &out).await?;
                if *reset {
                    return socket.transport.reset_on_close();
                }
            }
            Act::Garbage => {
                send(&mut socket, b"\x16\x03\x01 this is no HTTP\r\n\r\n\0\xff").await?;
            }
            Act::WebSocket { accept } => {
                let fields = format!(
                    "Upgrade: websocket\r\nConnection: Upgrade\r\n\
                     Sec-WebSocket-Accept: {accept}\r\n\r\n"
                );
                let head = self.head("101 Switching Protocols", &fields);
                send(&mut socket, &head).await?;
                return websocket::echo(socket).await;
            }
            Act::Tunnel { protocol } => {
                let head = match protocol {
                    None => self.head("200 OK", "\r\n"),
                    Some(protocol) => {
                        let fields = "Connection: Upgrade\r\nUpgrade: ";
                        let mut head = self.head("101 Switching Protocols", fields);
                        head.extend_from_slice(protocol.as_bytes());
                        head.extend_from_slice(b"\r\n\r\n");
                        head
                    }
                };
                send(&mut socket, &head).await?;
                let (mut read, mut write) = split(&mut socket);
                copy(&mut read, &mut write).await?;
            }
            Act::Gone | Act::Early { .. } | Act::Trailers { .. } => {}
        }
        socket.shutdown().await
    }

    /// A head as far as `fields`, which end it or leave it open.
    fn head(&self, status: &str, fields: &str) -> Vec<u8> {
        let mut out = format!("HTTP/1.1 {status}\r\nX-Backend: ").into_bytes();
        out.extend_from_slice(self.label.as_bytes());
        out.extend_from_slice(b"\r\n");
        if !self.keep_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(fields.as_bytes());
        out
    }

    /// A head and `after` bytes of a body that ends too early, whichever way it is framed.
    fn broken(&self, after: u64, chunked: bool) -> Vec<u8> {
        let body = payload::pattern_piece(0, after);
        if chunked {
            let mut out = self.head("200 OK", "Transfer-Encoding: chunked\r\n\r\n");
            if !body.is_empty() {
                push_chunk(&mut out, &body);
            }
            return out;
        }
        let announced = 2 * body.len() + 1;
        let mut out = self.head("200 OK", &format!("Content-Length: {announced}\r\n\r\n"));
        out.extend_from_slice(&body);
        out
    }
}

/// RFC 8297, 2.
const EARLY_HINTS: &[u8] = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";

async fn send(socket: &mut Socket, bytes: &[u8]) -> io::Result<()> {
    socket.write_all(bytes).await?;
    socket.flush().await
}

/// The rest of a head and the body, in two chunks so that a reader must join them.
fn push_trailed(out: &mut Vec<u8>, body: &[u8], trailers: &[(&'static str, String)]) {
    let names: Vec<&str> = trailers.iter().map(|(name, _)| *name).collect();
    let fields = format!("Trailer: {}\r\n\r\n", names.join(", "));
    out.extend_from_slice(fields.as_bytes());
    let (first, second) = body.split_at(body.len() / 2);
    for chunk in [first, second] {
        push_chunk(out, chunk);
    }
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn push_chunk(out: &mut Vec<u8>, chunk: &[u8]) {
    out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
    out.extend_from_slice(chunk);
    out.extend_from_slice(b"\r\n");
}
