//! A raw server that says exactly the bytes it was given, for upstreams that misbehave.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::message::{Head, Reader};

/// One thing that the server does on a connection. After the last it closes.
#[derive(Debug, Clone)]
pub enum Step {
    /// Waits for a request head.
    ReadHead,
    /// Waits for this many bytes after it.
    ReadBytes(usize),
    /// Waits until the client says that no more will come.
    ReadToEnd,
    Write(Vec<u8>),
    /// Says that no more will be sent, and goes on.
    FinishSending,
    /// Neither reads nor writes nor closes any more.
    Stall,
    /// Closes by a TCP reset.
    Reset,
}

/// A running server; it stops when dropped. It runs on the caller's runtime.
pub struct Scripted {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<Head>>>,
    accepting: AbortHandle,
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

    /// Plays a script on each connection, in turn, the last one again and again.
    pub async fn play(scripts: Vec<Vec<Step>>) -> Self {
        assert!(!scripts.is_empty(), "a server needs something to do");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heads = Arc::default();
        let accepting = accept(listener, scripts, Arc::clone(&heads));
        let accepting = tokio::spawn(accepting).abort_handle();
        Self {
            address,
            heads,
            accepting,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The request heads read so far, over all connections.
    pub fn heads(&self) -> Vec<Head> {
        self.heads.lock().unwrap().clone()
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, scripts: Vec<Vec<Step>>, heads: Arc<Mutex<Vec<Head>>>) {
    let mut connections = JoinSet::new();
    for number in 0.. {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let script = scripts.get(number).or_else(|| scripts.last()).cloned();
        connections.spawn(perform(
            stream,
            script.unwrap_or_default(),
            Arc::clone(&heads),
        ));
    }
}

async fn perform(
    stream: TcpStream,
    script: Vec<Step>,
    heads: Arc<Mutex<Vec<Head>>>,
) -> io::Result<()> {
    let mut reader = Reader::new(stream);
    for step in script {
        match step {
            Step::ReadHead => match reader.head().await? {
                Some(head) => heads.lock().unwrap().push(head),
                None => return Ok(()),
            },
            Step::ReadBytes(count) => drop(reader.exactly(count).await?),
            Step::ReadToEnd => drop(reader.rest().await?),
            Step::Write(bytes) => reader.stream.write_all(&bytes).await?,
            Step::FinishSending => reader.stream.shutdown().await?,
            Step::Stall => std::future::pending().await,
            Step::Reset => return reader.stream.set_zero_linger(),
        }
    }
    Ok(())
}
