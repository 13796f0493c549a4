//! The plan driven by a world that answers as it pleases, and the cases that it must know.

use super::*;
use crate::clock::Instant;
use crate::config::UpstreamTimeouts;
use ::http::Method;
use proptest::prelude::*;
use std::time::Duration;

const MILLISECOND: u64 = 1_000_000;
const GONE_UNSEEN: Death = Death {
    written: true,
    received: false,
    kept: true,
};

fn at(milliseconds: u64) -> Instant {
    Instant(milliseconds * MILLISECOND)
}

/// At time 0, admitted, with the default timeouts.
fn plan(method: &Method, endpoints: usize) -> Plan {
    let deadlines = Deadlines::new(&UpstreamTimeouts::default(), at(0));
    let mut plan = Plan::new(retry::idempotent(method), endpoints, deadlines);
    assert_eq!(plan.step(at(0), Event::Admitted), Action::Pick);
    plan
}

/// The same, as far as having sent to endpoint 3.
fn sent(method: &Method, reused: bool) -> Plan {
    let mut plan = plan(method, 5);
    let connect = Action::Connect {
        endpoint: 3,
        fresh: false,
    };
    assert_eq!(plan.step(at(0), Event::Picked(3)), connect);
    assert_eq!(plan.step(at(0), Event::Connected { reused }), Action::Send);
    assert_eq!(plan.step(at(0), Event::Sent), Action::Wait);
    plan
}

#[test]
fn the_straight_path_answers_and_then_rests() {
    let mut plan = sent(&Method::POST, true);
    assert_eq!(plan.deadline(), (at(10_000), Timeout::FirstByte));
    assert_eq!(
        plan.step(at(5), Event::Head { tunnel: false }),
        Action::Answer
    );
    assert_eq!(plan.deadline(), (at(60_005), Timeout::Idle));
    plan.progress(at(30_000));
    assert_eq!(plan.deadline(), (at(90_000), Timeout::Idle));
    assert_eq!(plan.step(at(31_000), Event::Done), Action::Wait);
    assert_eq!(plan.step(at(99_000), Event::Timer), Action::Wait);
}

#[test]
fn a_refused_connection_sends_any_method_elsewhere() {
    let mut plan = plan(&Method::POST, 2);
    plan.step(at(0), Event::Picked(1));
    let refused = Event::ConnectFailed(ConnectFailure::Refused);
    assert_eq!(plan.step(at(1), refused), Action::Pick);
    assert!(plan.tried().contains(1) && !plan.tried().contains(0));
    plan.step(at(1), Event::Picked(0));
    let given_up = Action::GiveUp(Failure::Connect(ConnectFailure::Refused));
    assert_eq!(plan.step(at(2), refused), given_up, "each endpoint once");
}

#[test]
fn a_connect_timeout_goes_elsewhere_while_total_lasts() {
    let mut plan = plan(&Method::POST, 100);
    let mut picks = 1;
    let mut now = at(0);
    let last = loop {
        plan.step(now, Event::Picked(picks));
        let (deadline, _) = plan.deadline();
        assert_eq!(
            plan.step(Instant(deadline.0 - 1), Event::Timer),
            Action::Wait,
            "too early"
        );
        now = deadline;
        match plan.step(now, Event::Timer) {
            Action::Pick => picks += 1,
            other => break other,
        }
    };
    // Thirty seconds hold thirty times one second, and the last of them ends both.
    assert_eq!((picks, now), (30, at(30_000)));
    assert_eq!(last, Action::GiveUp(Failure::TimedOut(Timeout::Total)));
}

#[test]
fn a_stale_connection_is_replayed_once_on_a_new_one() {
    let mut plan = sent(&Method::GET, true);
    let again = Action::Connect {
        endpoint: 3,
        fresh: true,
    };
    assert_eq!(plan.step(at(1), Event::Died(GONE_UNSEEN)), again);
    assert!(!plan.tried().contains(3));
    assert_eq!(
        plan.step(at(2), Event::Connected { reused: false }),
        Action::Send
    );
    assert_eq!(
        plan.step(at(3), Event::Died(GONE_UNSEEN)),
        Action::GiveUp(Failure::Died)
    );
}

#[test]
fn a_replay_whose_new_connection_is_refused_goes_elsewhere_on_new_ones() {
    let mut plan = sent(&Method::GET, true);
    plan.step(at(1), Event::Died(GONE_UNSEEN));
    let refused = Event::ConnectFailed(ConnectFailure::Refused);
    assert_eq!(plan.step(at(2), refused), Action::Pick);
    let connect = Action::Connect {
        endpoint: 4,
        fresh: true,
    };
    assert_eq!(plan.step(at(2), Event::Picked(4)), connect);
}

#[test]
fn a_death_is_final_when_a_replay_could_do_harm() {
    let give_up = Action::GiveUp(Failure::Died);
    let dies =
        |method: &Method, reused, death| sent(method, reused).step(at(1), Event::Died(death));
    assert_eq!(
        dies(&Method::GET, false, GONE_UNSEEN),
        give_up,
        "it was a new connection"
    );
    assert_eq!(
        dies(&Method::POST, true, GONE_UNSEEN),
        give_up,
        "it may have been acted upon"
    );
    assert_eq!(
        dies(
            &Method::PUT,
            true,
            Death {
                kept: false,
                ..GONE_UNSEEN
            }
        ),
        give_up
    );
    assert_eq!(
        dies(
            &Method::GET,
            true,
            Death {
                received: true,
                ..GONE_UNSEEN
            }
        ),
        give_up
    );
    let again = Action::Connect {
        endpoint: 3,
        fresh: true,
    };
    assert_eq!(
        dies(
            &Method::POST,
            true,
            Death {
                written: false,
                ..GONE_UNSEEN
            }
        ),
        again
    );
    assert_eq!(dies(&Method::PUT, true, GONE_UNSEEN), again);
    let unprocessed = Death {
        written: false,
        ..GONE_UNSEEN
    };
    assert_eq!(
        dies(&Method::POST, false, unprocessed),
        again,
        "nothing was done, on a new connection either"
    );
}

#[test]
fn a_body_is_kept_only_while_a_replay_is_possible() {
    let keep = |method: &Method, reused| sent(method, reused).keep();
    assert_eq!(keep(&Method::PUT, true), Keep::All);
    assert_eq!(keep(&Method::DELETE, true), Keep::All);
    assert_eq!(
        keep(&Method::POST, true),
        Keep::Unwritten,
        "it is not repeated once it was written"
    );
    for method in [Method::PUT, Method::POST] {
        let of_a_new_connection = keep(&method, false);
        assert_eq!(of_a_new_connection, Keep::Unwritten, "it may be refused");
    }
    assert_eq!(plan(&Method::PUT, 5).keep(), Keep::Nothing, "not yet sent");

    let mut answered = sent(&Method::PUT, true);
    answered.step(at(1), Event::Head { tunnel: false });
    assert_eq!(answered.keep(), Keep::Nothing);

    let mut replayed = sent(&Method::PUT, true);
    replayed.step(at(1), Event::Died(GONE_UNSEEN));
    replayed.step(at(2), Event::Connected { reused: true });
    assert_eq!(replayed.keep(), Keep::Nothing, "it is replayed once");
}

#[test]
fn full_endpoints_are_passed_over_and_then_told_apart_from_none() {
    let mut first = plan(&Method::GET, 2);
    assert_eq!(first.step(at(0), Event::Full(1)), Action::Pick);
    assert!(first.tried().contains(1));
    let no_capacity = Action::GiveUp(Failure::NoCapacity);
    assert_eq!(
        first.clone().step(at(0), Event::Refused(Refusal::AllTried)),
        no_capacity
    );
    assert_eq!(first.step(at(0), Event::Full(0)), no_capacity);
    let none = plan(&Method::GET, 2).step(at(0), Event::Refused(Refusal::NoEndpoint));
    assert_eq!(none, Action::GiveUp(Failure::NoEndpoint));
}

#[test]
fn timeouts_are_told_apart() {
    let mut plan = sent(&Method::GET, true);
    let first_byte = Action::GiveUp(Failure::TimedOut(Timeout::FirstByte));
    assert_eq!(plan.step(at(10_000), Event::Timer), first_byte);
    let mut plan = sent(&Method::GET, true);
    plan.step(at(0), Event::Head { tunnel: true });
    let tunnel_idle = Action::GiveUp(Failure::TimedOut(Timeout::TunnelIdle));
    assert_eq!(plan.step(at(3_599_999), Event::Timer), Action::Wait);
    assert_eq!(plan.step(at(3_600_000), Event::Timer), tunnel_idle);
}

#[test]
fn methods_are_idempotent_as_in_rfc_9110() {
    for name in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
        assert!(retry::idempotent(&name.parse().unwrap()), "{name}");
    }
    for name in ["POST", "PATCH", "CONNECT", "PROPFIND", "get"] {
        assert!(!retry::idempotent(&name.parse().unwrap()), "{name}");
    }
}

#[test]
fn a_plan_is_small() {
    // It is built for each request; growth beyond three cache lines needs a reason.
    assert!(size_of::<Plan>() <= 192, "{}", size_of::<Plan>());
}

/// What the world does next, where an action leaves it a choice, and how long that takes.
type Whim = (u8, u64, bool, bool, bool);

/// Carries a plan out against a list of whims, as a proxy or a simulator would, and checks on the way
/// what must never happen.
struct World {
    plan: Plan,
    idempotent: bool,
    endpoints: usize,
    now: Instant,
    sends: usize,
    connected: bool,
    /// A byte of the request may have left before.
    written: bool,
    /// A byte of a response came, or the client has the head.
    received: bool,
    connects: Vec<usize>,
}

impl World {
    /// The event that follows an action, or `None` once the exchange is over.
    fn answer(&mut self, action: Action, whim: Whim) -> Option<Event> {
        let (choice, pause, a, b, c) = whim;
        self.now = self.now + Duration::from_millis(pause);
        let (deadline, _) = self.plan.deadline();
        let timely = |event| {
            if deadline <= self.now {
                Event::Timer
            } else {
                event
            }
        };
        if choice % 41 == 40 && !matches!(action, Action::GiveUp(_)) {
            return Some(Event::ClientGone);
        }
        match action {
            Action::GiveUp(_) => None,
            Action::Pick => Some(self.pick(choice)),
            Action::Connect { endpoint, fresh } => {
                self.connects.push(endpoint);
                self.connected = false;
                Some(timely(match choice % 3 {
                    0 => Event::ConnectFailed(ConnectFailure::Refused),
                    _ => Event::Connected {
                        reused: a && !fresh,
                    },
                }))
            }
            Action::Send | Action::Wait | Action::Answer => {
                if action == Action::Send {
                    assert!(self.connected, "two sends on one connection");
                    assert!(!self.received, "sent again after an answer");
                    assert!(
                        self.idempotent || !self.written,
                        "sent twice, not idempotent"
                    );
                    self.connected = false;
                    self.sends += 1;
                }
                let death = Death {
                    written: a || self.written,
                    received: b,
                    kept: c,
                };
                self.written |= a;
                let event = timely(match choice % 4 {
                    0 => Event::Died(death),
                    1 => Event::Sent,
                    2 => Event::Head { tunnel: a },
                    _ => Event::Done,
                });
                self.written |= matches!(event, Event::Sent | Event::Head { .. });
                self.received |= matches!(event, Event::Died(d) if d.received);
                self.received |= matches!(event, Event::Head { .. });
                Some(event)
            }
        }
    }

    fn pick(&self, choice: u8) -> Event {
        let mut left = (0..self.endpoints).filter(|&i| !self.plan.tried().contains(i));
        match (left.next(), choice % 5) {
            (None, _) => Event::Refused(Refusal::AllTried),
            (_, 0) => Event::Refused(Refusal::NoEndpoint),
            (Some(i), 1) => Event::Full(i),
            (Some(i), _) => Event::Picked(i),
        }
    }
}

proptest! {
    #[test]
    fn whatever_the_world_does_the_tries_are_safe_and_end(
        whims in prop::collection::vec(
            (any::<u8>(), 0u64..1500, any::<bool>(), any::<bool>(), any::<bool>()), 400),
        endpoints in 1usize..80,
        idempotent: bool,
    ) {
        let deadlines = Deadlines::new(&UpstreamTimeouts::default(), at(0));
        let plan = Plan::new(idempotent, endpoints, deadlines);
        let mut world = World {
            plan, idempotent, endpoints, now: at(0), sends: 0, connected: false, written: false,
            received: false, connects: Vec::new(),
        };
        let mut action = world.plan.step(at(0), Event::Admitted);
        let mut over = false;
        for whim in whims {
            let Some(event) = world.answer(action, whim) else {
                over = true;
                break;
            };
            world.connected |= matches!(event, Event::Connected { .. });
            let keep = world.plan.keep();
            action = world.plan.step(world.now, event);
            if let (Event::Died(death), Action::Connect { .. }) = (event, action) {
                prop_assert!(death.kept && keep != Keep::Nothing, "replayed what nobody kept");
                prop_assert!(keep == Keep::All || !death.written);
            }
            if event == Event::Done || matches!(event, Event::Timer) && action == Action::Wait {
                over = event == Event::Done;
                prop_assert!(over, "a timer at its deadline was without effect");
                break;
            }
        }
        prop_assert!(over, "it did not end: {:?}", world.plan);
        prop_assert!(world.sends <= 2);
        // One connection to each endpoint, and one for the replay.
        prop_assert!(world.connects.len() <= endpoints + 1);
        let mut places = world.connects.clone();
        places.dedup();
        let distinct = places.len();
        places.sort_unstable();
        places.dedup();
        prop_assert_eq!(places.len(), distinct, "came back to an endpoint: {:?}", world.connects);
    }

    #[test]
    fn no_order_of_events_makes_it_act_once_it_is_over(
        kinds in prop::collection::vec((0u8..13, 0u64..4000), 1..60),
        idempotent: bool,
    ) {
        let deadlines = Deadlines::new(&UpstreamTimeouts::default(), at(0));
        let mut plan = Plan::new(idempotent, 4, deadlines);
        let (mut now, mut over, mut sends, mut picks) = (0, false, 0, 0);
        for (kind, pause) in kinds {
            now += pause;
            let event = match kind {
                0 => Event::Admitted,
                1 => Event::Picked(now as usize % 4),
                2 => Event::Full(now as usize % 4),
                3 => Event::Refused(Refusal::Full),
                4 => Event::Connected { reused: true },
                5 => Event::Connected { reused: false },
                6 => Event::ConnectFailed(ConnectFailure::Tls),
                7 => Event::Sent,
                8 => Event::Head { tunnel: false },
                9 => Event::Died(GONE_UNSEEN),
                10 => Event::ClientGone,
                11 => Event::Done,
                _ => Event::Timer,
            };
            let action = plan.step(at(now), event);
            prop_assert!(!over || action == Action::Wait);
            over |= event == Event::Done || matches!(action, Action::GiveUp(_));
            sends += usize::from(action == Action::Send);
            picks += usize::from(action == Action::Pick);
        }
        prop_assert!(sends <= 2 && picks <= 4);
    }
}
