//! HTTP/2 connections: whatever frames come, the connection ends without a panic once its client has closed, and the
//! handler is asked no more often than there were heads.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::Write as _;
use std::rc::Rc;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use plimsoll::clock::wheel::Wheel;
use plimsoll::clock::{Clock, Instant};
use plimsoll::config::{ListenerLimits, ListenerTimeouts};
use plimsoll::http::body::Pump;
use plimsoll::http::buffers::Buffers;
use plimsoll::http::drain::Drain;
use plimsoll::http::fields::{Fields, Names};
use plimsoll::http::h2::{End, Unheard, server};
use plimsoll::http::head::Length;
use plimsoll::http::{Handler, InForce, Incoming, Outgoing, Peer, Refusal, Responder};
use plimsoll::stream::Stream;

#[derive(Debug, Arbitrary)]
struct Drawn<'a> {
    kind: u8,
    flags: u8,
    stream: u8,
    times: u8,
    payload: Payload<'a>,
}

#[derive(Debug, Arbitrary)]
enum Payload<'a> {
    Own(&'a [u8]),
    Get,
    Post,
    Number(u32),
    Zeros(u8),
}

/// Bytes of one connection.
const MOST: usize = 64 * 1024;

pub fn run(data: &[u8]) {
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let mut heads = 0;
    match Vec::<Drawn<'_>>::arbitrary_take_rest(Unstructured::new(data)) {
        Ok(frames) if !frames.is_empty() => {
            for drawn in &frames {
                let frame = frame(drawn);
                for _ in 0..1 + drawn.times % 8 {
                    if bytes.len() + frame.len() > MOST {
                        break;
                    }
                    heads += usize::from(frame[3] == 1);
                    bytes.extend_from_slice(&frame);
                }
            }
        }
        _ => {
            heads = MOST;
            bytes.extend(data.iter().take(MOST));
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .expect("a runtime");
    let asked = runtime.block_on(serve(&bytes));
    assert!(asked <= heads, "{asked} requests of {heads} heads");
}

fn frame(drawn: &Drawn<'_>) -> Vec<u8> {
    let host = b"\x41\x01a";
    let payload = match drawn.payload {
        Payload::Own(bytes) => bytes[..bytes.len().min(16_384)].to_vec(),
        Payload::Get => [&[0x82, 0x86, 0x84][..], host].concat(),
        Payload::Post => [&[0x83, 0x86, 0x84][..], host].concat(),
        Payload::Number(number) => number.to_be_bytes().to_vec(),
        Payload::Zeros(count) => vec![0; usize::from(count)],
    };
    let length = (payload.len() as u32).to_be_bytes();
    let head = [
        length[1],
        length[2],
        length[3],
        drawn.kind % 11,
        drawn.flags,
    ];
    [&head[..], &u32::from(drawn.stream).to_be_bytes(), &payload].concat()
}

/// How often the handler was asked.
async fn serve(bytes: &[u8]) -> usize {
    let (client, socket) = std::os::unix::net::UnixStream::pair().expect("two sockets");
    socket.set_nonblocking(true).expect("a socket");
    let socket = tokio::net::UnixStream::from_std(socket).expect("a socket");
    // On a thread of its own, since it may say more than a socket holds; what it is told is thrown away.
    let bytes = bytes.to_vec();
    let writing = std::thread::spawn(move || {
        let mut reading = client.try_clone().expect("a socket");
        let read = std::thread::spawn(move || std::io::copy(&mut reading, &mut std::io::sink()));
        let mut writing = client;
        let _ = writing.write_all(&bytes);
        let _ = writing.shutdown(std::net::Shutdown::Write);
        let _ = read.join();
    });
    let wheel = Wheel::new(Clock::system());
    let turning = wheel.clone();
    let turning = tokio::task::spawn_local(async move { turning.run().await });
    let peer = Rc::new(Peer {
        address: None,
        port: 0,
        listener: 0,
        tls: false,
        sni: None,
        identity: None,
        text: "unix".to_owned(),
        local: None,
        proxy: None,
    });
    let limits = ListenerLimits {
        streams: 16,
        ..ListenerLimits::default()
    };
    let settings = server::Settings::new(limits, ListenerTimeouts::default());
    let site = Site::default();
    let serving = server::serve(
        Stream::Unix(socket),
        Vec::new(),
        peer,
        InForce::new(settings),
        wheel.after(Duration::from_secs(10)),
        Drain::new(),
        Buffers::default(),
        site.clone(),
    );
    let ended = tokio::time::timeout(Duration::from_secs(20), serving).await;
    assert!(ended.is_ok(), "the connection does not end");
    turning.abort();
    let _ = writing.join();
    site.asked.get()
}

/// Answers everything with what it got.
#[derive(Clone, Default)]
struct Site {
    asked: Rc<Cell<usize>>,
    buffers: Buffers,
}

impl Handler for Site {
    fn exchange(self, incoming: Incoming) -> impl Future<Output = ()> + Unpin + 'static {
        Box::pin(async move {
            self.asked.set(self.asked.get() + 1);
            let Incoming {
                head,
                mut body,
                responder,
                ..
            } = incoming;
            if head.method == http::Method::CONNECT {
                return;
            }
            let none = Fields::default();
            let outgoing = Outgoing {
                fields: &head.fields,
                skip: Names::NONE,
                omit: &[],
                extra: &none,
                length: Length::Marked,
            };
            let mut sink = responder.respond(200, b"", &outgoing);
            let mut pump = Pump::default();
            let _ = poll_fn(|cx| pump.poll(cx, &mut body, &mut sink, &self.buffers)).await;
        })
    }

    async fn refuse(&self, _: Refusal, _: Option<Instant>, responder: Responder, _: Rc<Peer>) {
        let none = Fields::default();
        let outgoing = Outgoing {
            fields: &none,
            skip: Names::NONE,
            omit: &[],
            extra: &none,
            length: Length::Empty,
        };
        drop(responder.respond(400, b"", &outgoing));
    }

    fn cut(&self, _: End, _: &Peer) {}

    fn unheard(&self, _: Unheard, _: &Peer) {}
}
