//! What a client sends that does not speak TLS, told by its first bytes.

use std::io::{self, Read};

use tokio::net::TcpStream;

use super::AcceptError;

/// What a browser shows when somebody typed `http://` before a port that speaks TLS.
pub(super) const PLAIN_HTTP_ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain; charset=utf-8\r\n\
    Content-Length: 55\r\n\
    Connection: close\r\n\
    \r\n\
    This port speaks HTTPS; write https:// in the address.\n";

/// The first bytes that a client sent.
#[derive(Debug, Default)]
pub(super) struct Opening {
    bytes: [u8; 8],
    count: usize,
}

impl Opening {
    fn note(&mut self, bytes: &[u8]) {
        let taken = bytes.len().min(self.bytes.len() - self.count);
        self.bytes[self.count..][..taken].copy_from_slice(&bytes[..taken]);
        self.count += taken;
    }

    /// What it is when it is not TLS, whose first record is a handshake (RFC 8446, 5.1: type 22, major version 3).
    pub(super) fn foreign(&self) -> Option<AcceptError> {
        let seen = &self.bytes[..self.count];
        match seen {
            [] | [22] | [22, 3, ..] => None,
            _ if is_request_line(seen) => Some(AcceptError::PlainHttp),
            _ => Some(AcceptError::NotTls),
        }
    }
}

/// Whether these bytes begin like a request of HTTP/1 or the preface of HTTP/2: a method of capitals, then a space.
fn is_request_line(seen: &[u8]) -> bool {
    let letters = seen
        .iter()
        .take_while(|byte| byte.is_ascii_uppercase() || **byte == b'-')
        .count();
    letters > 0 && seen.get(letters).is_none_or(|byte| *byte == b' ')
}

/// Reads from the socket and notes how the client began.
pub(super) struct Noting<'a> {
    pub(super) stream: &'a TcpStream,
    pub(super) opening: &'a mut Opening,
}

impl Read for Noting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.try_read(buffer)?;
        self.opening.note(&buffer[..count]);
        Ok(count)
    }
}
