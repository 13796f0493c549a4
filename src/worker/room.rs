//! Room for one more connection to an endpoint that has as many as it may have: the cap is one for all workers, while
//! each keeps idle connections of its own.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Mail, Worker};
use crate::upstream::endpoint::Endpoint;

/// How long the answer of one worker is waited for before the next one is asked too. One that is not stuck comes to its
/// mail long before; for one that is, the connections that others keep must not be out of reach.
const PATIENCE: Duration = Duration::from_millis(20);

/// What a worker says that was asked for room.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    from: usize,
    /// An idle connection was closed, and is counted no more.
    closed: bool,
}

impl Worker {
    /// Asks the other workers to close an idle connection to this endpoint, one after the other, until one did: what
    /// the rest keep warm stays so. Gives whether one did. The caller bounds the time.
    pub async fn make_room(&self, endpoint: &Arc<Endpoint>) -> bool {
        let (answer, mut answers) = mpsc::unbounded_channel();
        let count = self.mailboxes.len();
        for step in 1..count {
            let asked = (self.index + step) % count;
            let question = Mail::CloseIdle {
                endpoint: Arc::clone(endpoint),
                answer: answer.clone(),
            };
            if self.mailboxes[asked].inbox.send(question).is_err() {
                // A worker that has ended keeps nothing.
                continue;
            }
            let answered = has_closed(&mut answers, Some(asked));
            if self.wheel.timeout(PATIENCE, answered).await == Some(true) {
                return true;
            }
        }
        // Some may be late. Nothing comes once all have let go of their end.
        drop(answer);
        has_closed(&mut answers, None).await
    }

    /// Closes an idle connection for another worker, if there is one.
    pub(super) fn give_room(
        &self,
        endpoint: &Arc<Endpoint>,
        answer: mpsc::UnboundedSender<Answer>,
    ) {
        if answer.is_closed() {
            // This comes too late: there was room elsewhere, or nobody waits for it any more.
            return;
        }
        let view = self.view();
        let mut reaches = view.reaches();
        let reach = reaches.find(|reach| Arc::ptr_eq(&reach.endpoint, endpoint));
        let from = self.index;
        let Some(ending) = reach.and_then(|reach| reach.pool.close_one()) else {
            let closed = false;
            let _ = answer.send(Answer { from, closed });
            return;
        };
        tokio::task::spawn_local(async move {
            ending.await;
            let closed = true;
            let _ = answer.send(Answer { from, closed });
        });
    }
}

/// Whether one of the answers is that a connection was closed, up to that of the worker asked `last` or, without it,
/// to the end.
async fn has_closed(answers: &mut mpsc::UnboundedReceiver<Answer>, last: Option<usize>) -> bool {
    while let Some(answer) = answers.recv().await {
        if answer.closed {
            return true;
        }
        if last == Some(answer.from) {
            break;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::clock::Clock;
    use crate::config::read::from_text;
    use crate::http::h1;
    use crate::http::head::Length;
    use crate::observe;
    use crate::observe::access_log::WorkerLog;
    use crate::snapshot::{Numbers, Snapshot, State};
    use crate::stream::Stream;
    use crate::tls::Shared;
    use crate::upstream::pool::{Connected, Open};
    use crate::upstream::registry::Registry;
    use crate::worker::{Mailbox, Setup};

    type Inbox = mpsc::UnboundedReceiver<Mail>;

    /// Three workers on this thread, of which the last two keep an idle connection each to an endpoint that may have
    /// two.
    struct Three {
        workers: Vec<Rc<Worker>>,
        inboxes: Vec<Inbox>,
        endpoint: Arc<Endpoint>,
        _listener: TcpListener,
    }

    impl Three {
        async fn start() -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let yaml = format!(
                "listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
                 routes: [ {{ match: {{ path: / }}, upstream: a }} ]\n\
                 upstreams: {{ a: {{ endpoints: [\"{address}\"], connections: {{ max: 2 }} }} }}\n"
            );
            let config = from_text("test.yaml", &yaml, &|_| None).unwrap().config;
            let (registry, shared) = (Registry::default(), Shared::new().unwrap());
            let stores = crate::attempt::idempotency::Stores::new(registry.events());
            let limiters = crate::limit::Registry::new(3, 7, Arc::default());
            let ledger = crate::limit::auth::Ledger::default();
            let state = State {
                endpoints: &registry,
                keys: &stores,
                ledger: &ledger,
                tls: &shared,
                limiters: &limiters,
            };
            let config = Arc::new(config);
            let snapshot = Snapshot::compile(&config, 1, &Numbers::new(), state).unwrap();
            let snapshot = Arc::new(snapshot);
            let (mailboxes, inboxes) = mailboxes();
            let clock = Clock::system();
            let metrics = observe::Registry::new(3, observe::Labels::default(), clock.now());
            let worker = |index| {
                let worker = Worker::new(Setup {
                    index,
                    clock,
                    seed: 1,
                    snapshot: Arc::clone(&snapshot),
                    inbox: mpsc::unbounded_channel().1,
                    mailboxes: Arc::clone(&mailboxes),
                    metrics: Arc::clone(&metrics),
                    log: WorkerLog::OFF,
                });
                let turning = worker.wheel.clone();
                tokio::task::spawn_local(async move { turning.run().await });
                worker
            };
            let three = Self {
                workers: (0..3).map(worker).collect(),
                inboxes,
                endpoint: Arc::clone(&snapshot.upstreams[0].endpoints[0]),
                _listener: listener,
            };
            for worker in &three.workers[1..] {
                let stream = TcpStream::connect(address).await.unwrap();
                three.keep(worker, stream);
            }
            three
        }

        fn keep(&self, worker: &Worker, stream: TcpStream) {
            let buffers = worker.buffers.clone();
            let connection = h1::Connection::new(Stream::Tcp(stream), &[], buffers);
            let mut client = h1::Client::new(connection);
            client.body(Length::Empty);
            let (now, view) = (worker.wheel.now(), worker.view());
            let connected = Connected {
                client,
                born: now,
                open: Open::reserve(&self.endpoint, 2).unwrap(),
            };
            let upstream = &view.upstreams[0];
            let pool = &upstream.reaches[0].pool;
            assert!(pool.give(now, connected, &upstream.limits, &worker.idle));
        }

        /// Lets this worker read its mail.
        fn attend(&mut self, index: usize) {
            let worker = Rc::clone(&self.workers[index]);
            let mut inbox =
                std::mem::replace(&mut self.inboxes[index], mpsc::unbounded_channel().1);
            tokio::task::spawn_local(async move {
                while let Some(Mail::CloseIdle { endpoint, answer }) = inbox.recv().await {
                    worker.give_room(&endpoint, answer);
                }
            });
        }

        async fn make_room(&self) -> bool {
            self.workers[0].make_room(&self.endpoint).await
        }

        /// Which of the last two workers keep a connection.
        fn kept(&self) -> [bool; 2] {
            [1, 2].map(|index| {
                let view = self.workers[index].view();
                !view.upstreams[0].reaches[0].pool.is_empty()
            })
        }
    }

    fn mailboxes() -> (Arc<Vec<Mailbox>>, Vec<Inbox>) {
        let (mailboxes, inboxes) = (0..3)
            .map(|_| {
                let (inbox, receiver) = mpsc::unbounded_channel();
                let mailbox = Mailbox::new(inbox);
                (mailbox, receiver)
            })
            .unzip();
        (Arc::new(mailboxes), inboxes)
    }

    #[tokio::test(flavor = "local")]
    async fn one_idle_connection_is_closed_for_one_need() {
        let mut three = Three::start().await;
        three.attend(1);
        three.attend(2);
        assert!(Open::reserve(&three.endpoint, 2).is_none());
        assert!(three.make_room().await);
        assert_eq!(three.kept(), [false, true]);
        let _open = Open::reserve(&three.endpoint, 2).unwrap();
        assert!(three.make_room().await);
        assert_eq!(three.kept(), [false, false]);
        assert!(!three.make_room().await);
    }

    #[tokio::test(flavor = "local")]
    async fn a_stuck_worker_holds_up_no_other_and_closes_nothing_later() {
        let mut three = Three::start().await;
        three.attend(2);
        assert!(three.make_room().await);
        assert_eq!(three.kept(), [true, false]);
        three.attend(1);
        // The mail of before was read when this one is answered.
        assert!(three.make_room().await);
        assert!(!three.make_room().await);
    }

    #[tokio::test(flavor = "local")]
    async fn a_worker_that_answers_late_is_waited_for_last() {
        let mut three = Three::start().await;
        three.inboxes[2].close();
        let asking = Rc::clone(&three.workers[0]);
        let endpoint = Arc::clone(&three.endpoint);
        let making = tokio::task::spawn_local(async move { asking.make_room(&endpoint).await });
        let Some(Mail::CloseIdle { endpoint, answer }) = three.inboxes[1].recv().await else {
            panic!("no question");
        };
        // Until patience is at an end and no other is left to be asked.
        while answer.strong_count() > 1 {
            tokio::task::yield_now().await;
        }
        assert!(!making.is_finished());
        three.workers[1].give_room(&endpoint, answer);
        assert!(making.await.unwrap());
        assert_eq!(three.kept(), [false, true]);
    }
}
