//! What comes on a connection before TLS and HTTP: the PROXY header. Exactly its bytes are taken from the socket, because
//! who reads on reads the socket too.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::task::{Context, Poll, ready};

use rustix::net::RecvFlags;
use tokio::io::Interest;

use super::refusal::Refusal;
use crate::config::{ProxyProtocolIn, ProxyProtocolOthers};
use crate::proxy_protocol::{self, Header, LONGEST};
use crate::stream::{Stream, poll_readable};

/// What is asked of a connection before its client is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Nothing: what comes is the client's.
    Plain,
    /// Nothing, but what looks like a PROXY header closes it: this peer is not believed.
    NoHeader,
    /// A PROXY header.
    Header,
    /// It is closed, whatever comes.
    Refused,
}

impl Opening {
    /// What a listener asks of a peer with this address; `None` on a Unix socket.
    pub fn of(written: &ProxyProtocolIn, peer: Option<IpAddr>) -> Self {
        match written {
            ProxyProtocolIn::Off => Self::Plain,
            ProxyProtocolIn::Require => Self::Header,
            ProxyProtocolIn::From(known) if known.from.iter().any(|one| one.is(peer)) => {
                Self::Header
            }
            ProxyProtocolIn::From(known) => match known.others {
                ProxyProtocolOthers::Plain => Self::NoHeader,
                ProxyProtocolOthers::Refuse => Self::Refused,
            },
        }
    }
}

/// Reads what is asked for; the header if there is one. `None`: the peer left without a word, as checks of balancers do.
/// The caller bounds the time.
pub async fn read(stream: &Stream, opening: Opening) -> Result<Option<Header>, Refusal> {
    match opening {
        Opening::Plain => Ok(Some(Header::Local)),
        Opening::Refused => Err(Refusal::HeaderUntrusted),
        Opening::NoHeader => none(stream).await,
        Opening::Header => header(stream).await,
    }
}

/// Reads a header. Of what has come, only as much is taken as is known to be part of one: at first all that is still
/// too little, and of the piece that completes it what lies before its end.
async fn header(stream: &Stream) -> Result<Option<Header>, Refusal> {
    let mut seen: Vec<u8> = Vec::new();
    loop {
        let known = seen.len();
        seen.resize(LONGEST, 0);
        let came = receive(stream, &mut seen[known..], RecvFlags::PEEK).await;
        let came = came.map_err(|_| Refusal::HeaderMissing)?;
        seen.truncate(known + came);
        if came == 0 {
            return if known == 0 {
                Ok(None)
            } else {
                Err(Refusal::HeaderMalformed)
            };
        }
        let found = proxy_protocol::read(&seen)?;
        let end = found.map_or(seen.len(), |found| found.length);
        take(stream, &mut seen[known..end]).await?;
        if let Some(found) = found {
            return Ok(Some(found.header));
        }
    }
}

/// Takes bytes that were seen already, so that the socket cannot be found readable again for them alone.
async fn take(stream: &Stream, mut bytes: &mut [u8]) -> Result<(), Refusal> {
    while !bytes.is_empty() {
        let taken = receive(stream, bytes, RecvFlags::empty()).await;
        match taken.map_err(|_| Refusal::HeaderMalformed)? {
            0 => return Err(Refusal::HeaderMalformed),
            count => bytes = &mut bytes[count..],
        }
    }
    Ok(())
}

/// Looks at the first bytes of a peer that is not believed, and leaves them where they are. A header that comes in pieces
/// is not seen here, and is no request either.
async fn none(stream: &Stream) -> Result<Option<Header>, Refusal> {
    let mut first = [0; 16];
    match receive(stream, &mut first, RecvFlags::PEEK).await {
        Ok(0) | Err(_) => Ok(None),
        Ok(count) if proxy_protocol::begins(&first[..count]) => Err(Refusal::HeaderUntrusted),
        Ok(_) => Ok(Some(Header::Local)),
    }
}

async fn receive(stream: &Stream, buffer: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    std::future::poll_fn(|cx| poll_receive(stream, cx, buffer, flags)).await
}

fn poll_receive(
    stream: &Stream,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
    flags: RecvFlags,
) -> Poll<io::Result<usize>> {
    match stream {
        Stream::Tcp(tcp) => poll_readable(tcp, cx, || call(tcp, buffer, flags)),
        Stream::Unix(unix) => loop {
            ready!(unix.poll_read_ready(cx))?;
            match unix.try_io(Interest::READABLE, || call(unix, buffer, flags)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        },
        // Nothing was agreed on yet.
        Stream::Server(_) | Stream::Client(_) => {
            Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
        }
    }
}

fn call(socket: impl AsFd, buffer: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    let (count, _) = rustix::net::recv(socket, buffer, flags)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;
    use crate::config::ProxyProtocolFrom;
    use crate::proxy_protocol::{Version, write};

    fn told() -> Header {
        Header::Told {
            source: "192.0.2.1:1".parse().unwrap(),
            destination: "192.0.2.2:2".parse().unwrap(),
        }
    }

    #[tokio::test]
    async fn exactly_the_bytes_of_a_header_are_taken() {
        for version in [Version::V1, Version::V2] {
            let (mut client, server) = UnixStream::pair().unwrap();
            let mut server = Stream::Unix(server);
            let bytes = [write(version, &told()), b"GET / HTTP/1.1\r\n".to_vec()].concat();
            client.write_all(&bytes).await.unwrap();
            assert_eq!(read(&server, Opening::Header).await, Ok(Some(told())));
            let mut rest = [0; 16];
            server.read_exact(&mut rest).await.unwrap();
            assert_eq!(&rest, b"GET / HTTP/1.1\r\n");
        }
    }

    #[tokio::test]
    async fn a_header_may_come_byte_by_byte() {
        for version in [Version::V1, Version::V2] {
            let (mut client, server) = UnixStream::pair().unwrap();
            let server = Stream::Unix(server);
            let sending = async {
                for byte in write(version, &told()) {
                    client.write_all(&[byte]).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let (found, ()) = tokio::join!(read(&server, Opening::Header), sending);
            assert_eq!(found, Ok(Some(told())));
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_told_apart() {
        for (bytes, opening, expected) in [
            (&b""[..], Opening::Header, Ok(None)),
            (
                b"GET / HTTP/1.1\r\n",
                Opening::Header,
                Err(Refusal::HeaderMissing),
            ),
            (
                b"PROXY TCP4",
                Opening::Header,
                Err(Refusal::HeaderMalformed),
            ),
            (
                b"PROXY TCP9 1\r\n",
                Opening::Header,
                Err(Refusal::HeaderMalformed),
            ),
            (
                b"PROXY UNKNOWN\r\n",
                Opening::NoHeader,
                Err(Refusal::HeaderUntrusted),
            ),
            (b"GET", Opening::NoHeader, Ok(Some(Header::Local))),
            (b"", Opening::NoHeader, Ok(None)),
            (b"GET", Opening::Refused, Err(Refusal::HeaderUntrusted)),
            (b"", Opening::Plain, Ok(Some(Header::Local))),
        ] {
            let (mut client, server) = UnixStream::pair().unwrap();
            client.write_all(bytes).await.unwrap();
            drop(client);
            let server = Stream::Unix(server);
            assert_eq!(read(&server, opening).await, expected, "{bytes:?}");
        }
    }

    #[test]
    fn who_has_to_send_a_header_is_a_matter_of_addresses() {
        let peer = |text: &str| Some(text.parse().unwrap());
        let from = |others| {
            ProxyProtocolIn::From(ProxyProtocolFrom {
                from: vec![crate::config::TrustedProxy::Network(
                    "10.0.0.0/8".parse().unwrap(),
                )],
                others,
            })
        };
        let plain = from(ProxyProtocolOthers::Plain);
        assert_eq!(Opening::of(&plain, peer("10.1.1.1")), Opening::Header);
        assert_eq!(Opening::of(&plain, peer("11.1.1.1")), Opening::NoHeader);
        assert_eq!(Opening::of(&plain, None), Opening::NoHeader);
        let refuse = from(ProxyProtocolOthers::Refuse);
        assert_eq!(Opening::of(&refuse, peer("11.1.1.1")), Opening::Refused);
        let require = ProxyProtocolIn::Require;
        assert_eq!(Opening::of(&require, None), Opening::Header);
        assert_eq!(Opening::of(&ProxyProtocolIn::Off, None), Opening::Plain);
    }
}
