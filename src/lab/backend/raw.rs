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
        let mut out = Vec::new();
        let mut open_head = |status: &str| {
            out.extend_from_slice(b"HTTP/1.1 ");
            out.extend_from_slice(status.as_bytes());
            out.extend_from_slice(b"\r\nX-Backend: ");
            out.extend_from_slice(self.label.as_bytes());
            out.extend_from_slice(b"\r\n");
        };
        match self.act {
            Act::Early { pause, body } => {
                socket
                    .write_all(
                        b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n",
                    )
                    .await?;
                socket.flush().await?;
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                open_head("200 OK");
                push_connection(&mut out, self.keep_alive);
                out.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
                out.extend_from_slice(&body);
            }
            Act::Trailers { body, trailers } => {
                open_head("200 OK");
                push_connection(&mut out, self.keep_alive);
                push_trailed(&mut out, &body, &trailers);
            }
            Act::Drop { after, chunked } => {
                open_head("200 OK");
                push_broken(&mut out, after, chunked);
                send(&mut socket, &out).await?;
                socket.shutdown().await?;
                return Ok(None);
            }
            Act::Reset { after } => {
                if let Some(after) = after {
                    open_head("200 OK");
                    push_broken(&mut out, after, false);
                    send(&mut socket, &out).await?;
                }
                socket.transport.reset_on_close()?;
                return Ok(None);
            }
            Act::Gone => {
                socket.shutdown().await?;
                return Ok(None);
            }
            Act::WebSocket { accept } => {
                open_head("101 Switching Protocols");
                let fields = format!(
                    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
                );
                out.extend_from_slice(fields.as_bytes());
                send(&mut socket, &out).await?;
                websocket::echo(socket).await?;
                return Ok(None);
            }
            Act::Tunnel { protocol } => {
                match protocol {
                    None => open_head("200 OK"),
                    Some(protocol) => {
                        open_head("101 Switching Protocols");
                        out.extend_from_slice(b"Connection: Upgrade\r\nUpgrade: ");
                        out.extend_from_slice(protocol.as_bytes());
                        out.extend_from_slice(b"\r\n");
                    }
                }
                out.extend_from_slice(b"\r\n");
                send(&mut socket, &out).await?;
                let (mut read, mut write) = split(socket);
                copy(&mut read, &mut write).await?;
                write.shutdown().await?;
                return Ok(None);
            }
        }
        send(&mut socket, &out).await?;
        drop(self.in_flight);
        if self.keep_alive {
            return Ok(Some(socket));
        }
        socket.shutdown().await?;
        Ok(None)
    }
}

async fn send(socket: &mut Socket, bytes: &[u8]) -> io::Result<()> {
    socket.write_all(bytes).await?;
    socket.flush().await
}

fn push_connection(out: &mut Vec<u8>, keep_alive: bool) {
    if !keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    }
}

/// In two chunks, so that a reader must join them.
fn push_trailed(out: &mut Vec<u8>, body: &[u8], trailers: &[(&'static str, String)]) {
    let names: Vec<&str> = trailers.iter().map(|(name, _)| *name).collect();
    let fields = format!(
        "Transfer-Encoding: chunked\r\nTrailer: {}\r\n\r\n",
        names.join(", ")
    );
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

/// The rest of a head and `after` bytes of a body that ends too early, whichever way it is framed.
fn push_broken(out: &mut Vec<u8>, after: u64, chunked: bool) {
    let body = payload::pattern_piece(0, after);
    if chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n\r\n");
        if !body.is_empty() {
            push_chunk(out, &body);
        }
    } else {
        let announced = 2 * after + 1;
        out.extend_from_slice(format!("Content-Length: {announced}\r\n\r\n").as_bytes());
        out.extend_from_slice(&body);
    }
}
