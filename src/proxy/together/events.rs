//! What may happen to an upstream, and by which rules.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::config::{Priority, QueueOrder};

/// Endpoints that there are, of which the upstream has some at a time. An endpoint is known by its number.
pub(super) const ENDPOINTS: usize = 4;

/// The rules, as numbers: milliseconds, and shares in percent.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) max_in_flight: usize,
    pub(super) per_endpoint: usize,
    pub(super) capacity: usize,
    pub(super) order: QueueOrder,
    pub(super) consecutive: u32,
    pub(super) probes: u32,
    pub(super) rise: u32,
    pub(super) fall: u32,
    pub(super) is_healthy_at_first: bool,
    pub(super) in_row: u32,
    pub(super) keep: usize,
    /// Of the stay of a breaker and of an ejection.
    pub(super) jitter: u32,
}

impl Rules {
    pub(super) const STANDING_AFTER: u64 = 100;
    pub(super) const STANDING_TIMEOUT: u64 = 250;
    pub(super) const FAILURE_RATE: u32 = 50;
    pub(super) const SLOW_CALL: u64 = 300;
    pub(super) const SLOW_RATE: u32 = 75;
    pub(super) const MIN_SAMPLES: u32 = 4;
    pub(super) const WINDOW: u64 = 1000;
    pub(super) const OPEN_FOR: u64 = 200;
    pub(super) const OPEN_FOR_MAX: u64 = 1600;
    pub(super) const WORSE_BY: u32 = 30;
    pub(super) const INTERVAL: u64 = 500;
    pub(super) const EJECT_FOR: u64 = 300;
    pub(super) const EJECT_FOR_MAX: u64 = 900;
    pub(super) const TOTAL: u64 = 1000;
    /// Of successes that are tokens, and tokens at most: of retries, and of hedges.
    pub(super) const RETRIES: (u32, u32) = (50, 4);
    pub(super) const HEDGES: (u32, u32) = (25, 10);
}

/// How an attempt ends. Of one that was answered all but the first two mean that its answer broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// As it should.
    Done,
    ClientGone,
    /// No connection.
    Refused,
    /// No answer in time.
    TimedOut,
    /// The time of the whole request was over: the endpoint had most of it, or it had not.
    TotalTimedOut,
    /// The endpoint refused what the client alone had asked for.
    Unasked,
    /// No connection was tried, since this proxy may have no more.
    NoRoom,
    /// Another attempt answered first.
    Overtaken,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Event {
    /// So many milliseconds pass, and nobody looks.
    Passes(u64),
    Tick,
    /// Those that wait see that their time is over.
    Timers,
    /// A check of an endpoint ends: it passed, failed, or says nothing.
    Check(usize, Option<bool>),
    /// A request of this class comes, which may wait for so long.
    Comes(Priority, u64),
    /// An attempt gets a head with this status.
    Head(usize, u16),
    /// An attempt ends. One that failed may be tried again.
    Ends(usize, End, bool),
    /// The endpoint of an attempt resets all that are under way there.
    Resets(usize),
    /// A second attempt is made beside one that takes long.
    Hedge(usize),
    /// The client of one that waits leaves.
    Leaves(usize),
    /// The configuration is read again: this endpoint is there or not.
    Member(usize),
    /// This endpoint has another address.
    Moves(usize),
    /// So many attempts at once.
    Limit(usize),
}

pub(super) fn rules(jitter: u32) -> impl Strategy<Value = Rules> {
    let orders = vec![QueueOrder::Fifo, QueueOrder::Lifo, QueueOrder::Adaptive];
    let room = (
        1_usize..5,
        select(vec![1_usize, 2, 100, 100]),
        0_usize..5,
        select(orders),
    );
    let switches = (2_u32..5, 1_u32..4, 1_u32..3, 1_u32..4);
    let others = (any::<bool>(), 2_u32..4, 1_usize..3);
    (room, switches, others).prop_map(move |(room, switches, others)| Rules {
        max_in_flight: room.0,
        per_endpoint: room.1,
        capacity: room.2,
        order: room.3,
        consecutive: switches.0,
        probes: switches.1,
        rise: switches.2,
        fall: switches.3,
        is_healthy_at_first: others.0,
        in_row: others.1,
        keep: others.2,
        jitter,
    })
}

pub(super) fn events() -> impl Strategy<Value = Vec<Event>> {
    let end = prop_oneof![
        3 => Just(End::Done),
        1 => Just(End::ClientGone),
        4 => Just(End::Refused),
        1 => Just(End::TimedOut),
        1 => Just(End::TotalTimedOut),
        1 => Just(End::Unasked),
        1 => Just(End::NoRoom),
        1 => Just(End::Overtaken),
    ];
    let status = select(vec![200_u16, 200, 200, 500, 503]);
    // Those that fail do so in a row more often if it is mostly the same one.
    let which = || prop_oneof![3 => Just(0_usize), 1 => 0_usize..8];
    let endpoint = || 0..ENDPOINTS;
    let event = prop_oneof![
        6 => (1_u64..150).prop_map(Event::Passes),
        1 => (200_u64..1500).prop_map(Event::Passes),
        6 => Just(Event::Tick),
        2 => Just(Event::Timers),
        4 => (endpoint(), prop_oneof![2 => Just(Some(true)), 2 => Just(Some(false)), 1 => Just(None)])
            .prop_map(|(which, passed)| Event::Check(which, passed)),
        12 => (select(&Priority::ALL[..]), 20_u64..400)
            .prop_map(|(class, span)| Event::Comes(class, span)),
        4 => (which(), status).prop_map(|(which, status)| Event::Head(which, status)),
        12 => (which(), end, any::<bool>())
            .prop_map(|(which, end, again)| Event::Ends(which, end, again)),
        3 => which().prop_map(Event::Resets),
        2 => which().prop_map(Event::Hedge),
        1 => which().prop_map(Event::Leaves),
        1 => endpoint().prop_map(Event::Member),
        1 => endpoint().prop_map(Event::Moves),
        1 => (1_usize..5).prop_map(Event::Limit),
    ];
    vec(event, 0..150)
}
