//! A raw server that says exactly the bytes it was given, for upstreams that misbehave.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use socket2::{Domain, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};

use super::message::{Head, Message, Reader};

/// One thing that the server does on a connection. After the last it closes.
#[derive(Debug, Clone)]
pub enum Step {
    /// Waits for a request head.
    ReadHead,
    /// Waits for a request and its whole body.
    ReadRequest,
    /// Waits for this many bytes after it.
    ReadBytes(usize),
    /// Waits until the client says that no more will come.
    ReadToEnd,
    Write(Vec<u8>),
    /// Says that no more will be sent, and goes on.
    FinishSending,
    /// Waits for a word of the test.
    Wait(Arc<Notify>),
    /// Neither reads nor writes nor closes any more.
    Stall,
    /// Closes by a TCP reset.
    Reset,
}

impl Step {
    /// Answers with 200 and the text "ok".
    pub fn ok() -> Self {
        Self::write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    }

    /// SETTINGS of an HTTP/2 endpoint, and its acknowledgement of ours.
    pub fn h2_greeting() -> Self {
        Self::write(b"\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0")
    }

    /// HEADERS of stream 1: status 200, and the end.
    pub fn h2_ok() -> Self {
        Self::write(b"\0\0\x01\x01\x05\0\0\0\x01\x88")
    }

    pub fn write(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Write(bytes.into())
    }
}

/// An address where nobody listens. It is held meanwhile, so that no other test is given the port and does.
pub struct Closed(Socket);

impl Closed {
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        socket.bind(&any.into()).unwrap();
        Self(socket)
    }

    /// As an endpoint is written in the configuration.
    pub fn endpoint(&self) -> String {
        let address = self.0.local_addr().unwrap().as_socket();
        address.unwrap().to_string()
    }
}

/// A running server; it stops when dropped. It runs on the caller's runtime.
pub struct Scripted {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    accepting: AbortHandle,
}

/// What it read, over all connections.
#[derive(Default)]
struct Seen {
    heads: Vec<Head>,
    requests: Vec<Message>,
    ended: usize,
}

impl Scripted {
    /// Answers the first request of each connection with these bytes in turn, the last one again and again,
    /// and closes.
    pub async fn start(answers: Vec<Vec<u8>>) -> Self {
        let scripts = answers
            .into_iter()
            .map(|bytes| vec![Step::ReadHead, Step::Write(bytes)]);
        Self::play(scripts.collect()).await
    }

    /// Answers one request, then does this and closes: what met an idle connection finds it dead. What comes on a
    /// further connection is read whole and answered.
    pub async fn stale(then: Vec<Step>) -> Self {
        let first = [vec![Step::ReadHead, Step::ok()], then].concat();
        let one = [Step::ReadRequest, Step::ok()];
        Self::play(vec![first, [one.clone(), one].concat()]).await
    }

    /// Plays a script on each connection, in turn, the last one again and again.
    pub async fn play(scripts: Vec<Vec<Step>>) -> Self {
        assert!(!scripts.is_empty(), "a server needs something to do");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::default();
        let accepting = accept(listener, scripts, Arc::clone(&seen));
        let accepting = tokio::spawn(accepting).abort_handle();
        Self {
            address,
            seen,
            accepting,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The request heads read so far.
    pub fn heads(&self) -> Vec<Head> {
        self.seen.lock().unwrap().heads.clone()
    }

    /// Connections closed so far.
    pub fn ended(&self) -> usize {
        self.seen.lock().unwrap().ended
    }

    /// The requests read so far with their whole bodies.
    pub fn requests(&self) -> Vec<Message> {
        self.seen.lock().unwrap().requests.clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, scripts: Vec<Vec<Step>>, seen: Arc<Mutex<Seen>>) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let script = scripts.get(number).or_else(|| scripts.last()).cloned();
        let seen = Arc::clone(&seen);
        connections.spawn(async move {
            let _ = perform(stream, script.unwrap_or_default(), &seen).await;
            seen.lock().unwrap().ended += 1;
        });
    }
}

async fn perform(stream: TcpStream, script: Vec<Step>, seen: &Mutex<Seen>) -> io::Result<()> {
    let mut reader = Reader::new(stream);
    for step in script {
        match step {
            Step::ReadHead => match reader.head().await? {
                Some(head) => seen.lock().unwrap().heads.push(head),
                None => return Ok(()),
            },
            Step::ReadRequest => match reader.request().await? {
                Some(message) => {
                    let mut seen = seen.lock().unwrap();
                    seen.heads.push(message.head.clone());
                    seen.requests.push(message);
                }
                None => return Ok(()),
            },
            Step::ReadBytes(count) => drop(reader.exactly(count).await?),
            Step::ReadToEnd => drop(reader.rest().await?),
            Step::Write(bytes) => reader.stream.write_all(&bytes).await?,
            Step::FinishSending => reader.stream.shutdown().await?,
            Step::Wait(told) => told.notified().await,
            Step::Stall => std::future::pending().await,
            Step::Reset => return reader.stream.set_zero_linger(),
        }
    }
    Ok(())
}
