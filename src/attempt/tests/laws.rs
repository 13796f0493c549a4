//! Tests: what holds whatever the world does, in any order.

use super::*;

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
    /// The client has the head.
    answered: bool,
    connects: Vec<usize>,
    /// Endpoints that it had sent to when a token was given last, unless it found that it had been to all.
    been: Vec<usize>,
    sent_to: Vec<usize>,
    tokens: u32,
    harmless: bool,
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
            Action::Ask if a => {
                self.tokens += 1;
                self.been.clone_from(&self.sent_to);
                Some(Event::Granted(u64::from(choice) << 56))
            }
            Action::Ask => Some(Event::Denied),
            Action::Pause => {
                let left = self.plan.time_left(self.now).unwrap();
                assert!(deadline.since(self.now) < left, "a pause to the end");
                self.now = deadline.max(self.now);
                Some(Event::Timer)
            }
            Action::Abandon => Some(Event::Died(Death {
                written: true,
                received: b,
                kept: c,
                late: true,
            })),
            Action::Pick => Some(self.pick(choice)),
            Action::Connect { endpoint, fresh } => {
                let is_replay = self.connects.last() == Some(&endpoint) && fresh;
                let is_back = self.been.contains(&endpoint) && !is_replay;
                assert!(!is_back, "back without need");
                self.connects.push(endpoint);
                self.connected = false;
                Some(timely(match choice % 3 {
                    0 => Event::ConnectFailed(ConnectFailure::Refused),
                    _ => Event::Connected {
                        reused: a && !fresh,
                    },
                }))
            }
            Action::Send | Action::Wait | Action::Answer | Action::Hedge => {
                if action == Action::Send {
                    assert!(self.connected, "two sends on one connection");
                    assert!(!self.answered, "sent again after an answer was passed on");
                    assert!(
                        self.idempotent || !self.written || self.harmless,
                        "sent twice, not idempotent"
                    );
                    assert!(!self.plan.time_left(self.now).unwrap().is_zero());
                    self.connected = false;
                    self.sends += 1;
                    self.sent_to.extend(self.connects.last());
                }
                let death = Death {
                    written: a || self.written,
                    received: b,
                    kept: c,
                    late: false,
                };
                self.written |= a;
                self.answered |= action == Action::Answer;
                let event = timely(match choice % 5 {
                    4 => Event::Failing {
                        kept: c,
                        harmless: a && b,
                        retry_after: b.then_some(Duration::from_millis(pause)),
                    },
                    0 => Event::Died(death),
                    1 => Event::Sent,
                    2 => Event::Head { tunnel: a },
                    _ => Event::Done,
                });
                let begins = matches!(
                    event,
                    Event::Sent | Event::Head { .. } | Event::Failing { .. } | Event::Timer
                );
                self.written |= begins;
                self.harmless = matches!(event, Event::Failing { harmless: true, .. });
                Some(event)
            }
        }
    }

    fn pick(&mut self, choice: u8) -> Event {
        let mut left = (0..self.endpoints).filter(|&i| !self.plan.tried().contains(i));
        match (left.next(), choice % 5) {
            (None, _) => {
                self.been.clear();
                Event::Refused(Refusal::AllTried)
            }
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
        max_attempts in 1u32..5,
        hedge_after in prop::option::of(0u64..4000),
        idempotent: bool,
    ) {
        let deadlines = Deadlines::new(&UpstreamTimeouts::default(), at(0));
        let repeat = if idempotent { Repeat::Yes } else { Repeat::WhenHarmless };
        let rules = Rules { max_attempts, ..TWICE };
        let mut plan = Plan::new(repeat, endpoints, deadlines, rules);
        if let Some(span) = hedge_after {
            plan.hedge_after(Duration::from_millis(span));
        }
        let mut world = World {
            plan, idempotent, endpoints, now: at(0), sends: 0, connected: false, written: false,
            answered: false, connects: Vec::new(), been: Vec::new(), sent_to: Vec::new(), tokens: 0,
            harmless: false,
        };
        let mut action = world.plan.step(at(0), Event::Admitted);
        let (mut over, mut hedges) = (false, 0);
        for whim in whims {
            let Some(event) = world.answer(action, whim) else {
                over = true;
                break;
            };
            world.connected |= matches!(event, Event::Connected { .. });
            let keep = world.plan.keep();
            action = world.plan.step(world.now, event);
            hedges += usize::from(action == Action::Hedge);
            let is_again = matches!(action, Action::Connect { .. } | Action::Ask | Action::Pick);
            if let (Event::Died(death), true) = (event, is_again) {
                prop_assert!(death.kept && keep != Keep::Nothing, "repeated what nobody kept");
                prop_assert!(keep == Keep::All || !death.written);
            }
            if event == Event::Done || matches!(event, Event::Timer) && action == Action::Wait {
                over = event == Event::Done;
                prop_assert!(over, "a timer at its deadline was without effect");
                break;
            }
        }
        prop_assert!(over, "it did not end: {:?}", world.plan);
        prop_assert!(hedges <= usize::from(idempotent && hedge_after.is_some()));
        prop_assert!(world.tokens < max_attempts, "more retries than attempts");
        // To each endpoint once a round, and one more for the replay; a round that was at all begins anew once.
        let rounds = 2 * max_attempts as usize;
        prop_assert!(world.connects.len() <= endpoints * rounds + 1);
    }

    #[test]
    fn no_order_of_events_makes_it_act_once_it_is_over(
        kinds in prop::collection::vec((0u8..16, 0u64..4000), 1..60),
        idempotent: bool,
    ) {
        let deadlines = Deadlines::new(&UpstreamTimeouts::default(), at(0));
        let repeat = if idempotent { Repeat::Yes } else { Repeat::WhenHarmless };
        let mut plan = Plan::new(repeat, 4, deadlines, TWICE);
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
                12 => Event::Granted(now),
                13 => Event::Denied,
                14 => Event::Failing { kept: true, harmless: false, retry_after: None },
                _ => Event::Timer,
            };
            let action = plan.step(at(now), event);
            prop_assert!(!over || action == Action::Wait);
            over |= event == Event::Done || matches!(action, Action::GiveUp(_));
            sends += usize::from(action == Action::Send);
            picks += usize::from(action == Action::Pick);
        }
        prop_assert!(sends <= 6 && picks <= 16);
    }
}
