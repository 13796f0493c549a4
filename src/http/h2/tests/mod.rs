//! Both sides through sockets, against the library's own other side.

mod client;
mod server;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;

use tokio::net::{TcpListener, TcpStream};

use super::server::{Settings, serve};
use super::{End, Unheard, client as ours};
use crate::clock::wheel::Wheel;
use crate::clock::{Clock, Instant};
use crate::config::{ListenerLimits, ListenerTimeouts};
use crate::http::body::{Body, Pump, Sink};
use crate::http::buffers::Buffers;
use crate::http::drain::Drain;
use crate::http::fields::{Fields, Names};
use crate::http::head::Length;
use crate::http::{Handler, InForce, Incoming, Outgoing, Peer, Refusal, Responder};
use crate::stream::Stream;

/// Answers by path, and remembers what it saw.
#[derive(Clone, Default)]
struct Site(Rc<Seen>);

/// Target, length and fields.
type Request = (String, Length, Vec<(String, String)>);

#[derive(Default)]
struct Seen {
    buffers: Buffers,
    requests: RefCell<Vec<Request>>,
    refusals: RefCell<Vec<String>>,
    gone: Cell<usize>,
    dropped: Rc<Cell<usize>>,
}

struct CountsDrop(Rc<Cell<usize>>);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

fn fields(list: &[(&str, &str)]) -> Fields {
    let mut fields = Fields::default();
    for (name, value) in list {
        fields.push(name.as_bytes(), value.as_bytes());
    }
    fields
}

fn outgoing<'a>(fields: &'a Fields, extra: &'a Fields, length: Length) -> Outgoing<'a> {
    Outgoing {
        fields,
        skip: Names::NONE,
        omit: &[],
        extra,
        length,
    }
}

async fn pump(body: &mut Body, sink: &mut Sink, buffers: &Buffers) -> bool {
    let mut pump = Pump::default();
    poll_fn(|cx| pump.poll(cx, body, sink, buffers))
        .await
        .is_ok()
}

impl Handler for Site {
    fn cut(&self, _: End, _: &Peer) {}

    fn unheard(&self, _: Unheard, _: &Peer) {}

    fn exchange(self, incoming: Incoming) -> impl Future<Output = ()> + Unpin + 'static {
        Box::pin(async move {
            let Incoming {
                head,
                mut body,
                mut responder,
                ..
            } = incoming;
            let seen = &self.0;
            let _dropped = CountsDrop(Rc::clone(&seen.dropped));
            let list = head.fields.iter().map(|(_, name, value)| {
                (
                    String::from_utf8_lossy(name).into_owned(),
                    String::from_utf8_lossy(value).into_owned(),
                )
            });
            let target = String::from_utf8_lossy(&head.target).into_owned();
            seen.requests
                .borrow_mut()
                .push((target.clone(), head.length, list.collect()));
            let none = Fields::default();
            match target.as_str() {
                "/hang" => {
                    poll_fn(|cx| responder.poll_gone(cx)).await;
                    seen.gone.set(seen.gone.get() + 1);
                }
                "/stuck" => std::future::pending().await,
                "/early" => {
                    let link = fields(&[("Link", "</a.css>; rel=preload")]);
                    responder.interim(103, &outgoing(&link, &none, Length::Empty));
                    responder.interim(101, &outgoing(&none, &none, Length::Empty));
                    let mut sink =
                        responder.respond(200, b"", &outgoing(&none, &none, Length::Exact(5)));
                    assert!(pump(&mut Body::Fixed("hello".into()), &mut sink, &seen.buffers).await);
                }
                "/cut" => {
                    let mut sink =
                        responder.respond(200, b"", &outgoing(&none, &none, Length::Exact(10)));
                    assert!(
                        !pump(&mut Body::Fixed("hello".into()), &mut sink, &seen.buffers).await
                    );
                }
                "/echo" => {
                    let fields = fields(&[
                        ("X-Answer", "1"),
                        ("Connection", "close"),
                        ("Content-Length", "7"),
                    ]);
                    let length = if head.method == ::http::Method::HEAD {
                        Length::Empty
                    } else {
                        head.length
                    };
                    let mut sink = responder.respond(200, b"", &outgoing(&fields, &none, length));
                    pump(&mut body, &mut sink, &seen.buffers).await;
                }
                "/chat" if head.upgrade.as_deref() == Some(b"websocket") => {
                    let mut sink =
                        responder.switch(&outgoing(&none, &none, Length::Empty), &mut body);
                    assert!(pump(&mut body, &mut sink, &seen.buffers).await);
                }
                _ => {
                    let mut sink =
                        responder.respond(200, b"", &outgoing(&none, &none, Length::Exact(5)));
                    assert!(pump(&mut Body::Fixed("hello".into()), &mut sink, &seen.buffers).await);
                }
            }
        })
    }

    async fn refuse(
        &self,
        refusal: Refusal,
        _: Option<Instant>,
        responder: Responder,
        _: Rc<Peer>,
    ) {
        let Refusal::Parse(error) = refusal else {
            return;
        };
        self.0.refusals.borrow_mut().push(error.label().to_owned());
        let none = Fields::default();
        responder.respond(error.status(), b"", &outgoing(&none, &none, Length::Empty));
    }
}

impl Site {
    fn last(&self) -> Request {
        self.0
            .requests
            .borrow()
            .last()
            .cloned()
            .expect("a request was seen")
    }
}

/// A wheel that turns, a hundred times too fast.
fn wheel() -> Wheel {
    let wheel = Wheel::new(Clock::scaled(100));
    let runner = wheel.clone();
    tokio::task::spawn_local(async move { runner.run().await });
    wheel
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (one, other) = tokio::join!(TcpStream::connect(address), listener.accept());
    (one.unwrap(), other.unwrap().0)
}

fn peer() -> Rc<Peer> {
    Rc::new(Peer {
        address: None,
        port: 0,
        listener: 0,
        tls: false,
        sni: None,
        identity: None,
        text: String::new(),
        local: None,
        proxy: None,
    })
}

/// A server of ours with one connection.
struct Server {
    site: Site,
    drain: Drain,
    end: tokio::task::JoinHandle<End>,
}

impl Server {
    async fn start() -> (TcpStream, Self) {
        Self::with(Settings::new(
            ListenerLimits::default(),
            ListenerTimeouts::default(),
        ))
        .await
    }

    async fn with(settings: Settings) -> (TcpStream, Self) {
        let (client, stream) = pair().await;
        let site = Site::default();
        let drain = Drain::new();
        let buffers = site.0.buffers.clone();
        let timer = wheel().timer();
        let task = serve(
            Stream::Tcp(stream),
            Vec::new(),
            peer(),
            InForce::new(settings),
            timer,
            drain.clone(),
            buffers,
            site.clone(),
        );
        (
            client,
            Self {
                site,
                drain,
                end: tokio::task::spawn_local(task),
            },
        )
    }
}
