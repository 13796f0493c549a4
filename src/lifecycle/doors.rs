//! The doors: which sockets are bound, and for which listener. State that outlives every configuration.
//!
//! A listener is known by a number that is given once in the life of the process, so that its open connections stay under
//! its rules whatever is added and removed around it. A set of sockets (one per worker) has a number too: an address that
//! moves from one name to another takes its sockets along, since no address is closed and bound again (nobody may be
//! refused meanwhile, and what waits in the queue of a socket is reset when it is closed).
//!
//! A reload first makes a [`Plan`], which binds what is new and can fail; [`Doors::adopt`] then carries it out and cannot.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::inherited::{ADMIN, Inherited, Role};
use super::upgrade::Lent;
use crate::admin::live::Bound;
use crate::config::{Address, Config};
use crate::listener::SocketFile;
use crate::listener::accept::{self, BindError, Gate, Host, Listening};
use crate::snapshot::Numbers;
use crate::worker::{Mail, Mailbox, Moves};

/// All doors of the process.
pub(super) struct Doors {
    workers: usize,
    /// Touched by one reload at a time, and by the end of the process.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The next number of a listener, and of a set of sockets.
    listener: usize,
    set: usize,
    open: Vec<Door>,
    /// What was bound before this process began, until it has.
    inherited: Inherited,
    /// Listeners that are gone, as long as anybody is accepted for them or was.
    departed: Vec<Departed>,
}

/// A listener with its bound sockets.
struct Door {
    name: String,
    host: Host,
    /// The address as written, and as bound: a configured port 0 became a real one.
    written: Address,
    sockets: Sockets,
}

/// Sockets that were bound together, one per worker or a single one.
struct Sockets {
    set: usize,
    bound: Address,
    /// The workers own them, and close them.
    held: Vec<Weak<OwnedFd>>,
    file: Option<SocketFile>,
    /// The path of a Unix socket whose file is another process's to remove, as long as that one serves.
    heir: Option<PathBuf>,
    /// Whether a process of this program has bound them.
    is_own: bool,
}

struct Departed {
    listener: usize,
    gate: Weak<Gate>,
}

/// What a configuration makes of the doors, with everything bound that it needs.
pub(super) struct Plan {
    doors: Vec<Planned>,
}

struct Planned {
    name: String,
    host: Host,
    cap: usize,
    send: Duration,
    tls: bool,
    written: Address,
    from: From,
}

/// Where a listener has its sockets from.
enum From {
    /// The open set of this number.
    Open(usize),
    Fresh(Listening),
}

/// What has changed at the doors, for people.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) opened: Vec<Bound>,
    /// The names of listeners that are gone, with their connections.
    pub(super) gone: Vec<(String, usize)>,
}

impl Doors {
    /// None so far but what was inherited.
    pub(super) fn new(workers: usize, inherited: Inherited) -> Self {
        let state = State {
            inherited,
            ..State::default()
        };
        Self {
            workers,
            state: Mutex::new(state),
        }
    }

    /// The sockets of the admin API, which need no worker.
    pub(super) fn admin(&self, address: &Address) -> Result<Listening, BindError> {
        match self.state().inherited.take(Role::Admin, address) {
            Some(given) => accept::adopt(ADMIN, given, 1),
            None => accept::bind(ADMIN, address, 1, true),
        }
    }

    /// Lets go of what was inherited and nobody wants.
    pub(super) fn leave_unwanted(&self) -> Vec<(String, Address)> {
        self.state().inherited.leave()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives every listener its number and its sockets. Binds what is new, and lets go of it again when a thing cannot be
    /// bound.
    pub(super) fn plan(&self, config: &Config) -> Result<Plan, BindError> {
        let mut state = self.state();
        let wanted: Vec<Place<'_>> = config
            .listeners
            .iter()
            .map(|(name, written)| (name.as_str(), &written.address))
            .collect();
        let sources = sources(&state.open, &wanted);
        let mut doors = Vec::with_capacity(wanted.len());
        for ((name, listener), source) in config.listeners.iter().zip(sources) {
            let from = match source {
                Some(index) => From::Open(state.open[index].sockets.set),
                None if let Some(given) = state
                    .inherited
                    .take(Role::Listener(name), &listener.address) =>
                {
                    From::Fresh(accept::adopt(name, given, self.workers)?)
                }
                None => {
                    // This process may be on the same port with a wider or narrower address, which it closes or keeps.
                    let own = state.open.iter().map(|door| &door.sockets.bound);
                    let probe = !own.into_iter().any(|own| overlap(own, &listener.address));
                    let bound = accept::bind(name, &listener.address, self.workers, probe)?;
                    From::Fresh(bound)
                }
            };
            let known = state.open.iter().find(|door| door.name == *name);
            let host = known.map(|door| door.host.clone());
            let host = host.unwrap_or_else(|| state.host(listener.limits.connections));
            doors.push(Planned {
                name: name.clone(),
                host,
                cap: listener.limits.connections,
                send: listener.timeouts.send,
                tls: listener.tls.is_some(),
                written: listener.address.clone(),
                from,
            });
        }
        Ok(Plan { doors })
    }

    /// Whether anybody is accepted for the listener of this number, or was and is still there. Of one that the next plan
    /// leaves out it is too early to ask: there somebody is.
    pub(super) fn has_guests(&self, listener: usize) -> bool {
        let state = self.state();
        let departed = |one: &Departed| one.listener == listener && one.gate.strong_count() > 0;
        state.open.iter().any(|door| door.host.listener == listener)
            || state.departed.iter().any(departed)
    }

    /// Carries a plan out: tells the workers, which have the snapshot already or find it before this in their mail.
    pub(super) fn adopt(&self, plan: Plan, mailboxes: &[Mailbox]) -> Told {
        let mut state = self.state();
        let mut told = Told::default();
        let mut old = std::mem::take(&mut state.open);
        let (mut moves, mut fresh) = (Moves::default(), Vec::new());
        let stays: HashSet<usize> = plan.doors.iter().map(|one| one.host.listener).collect();
        let before: Vec<(usize, usize)> = old
            .iter()
            .map(|door| (door.sockets.set, door.host.listener))
            .collect();
        let (mut sets, mut gone): (Vec<Sockets>, Vec<Departed>) = (Vec::new(), Vec::new());
        for door in old.drain(..) {
            if !stays.contains(&door.host.listener) {
                told.gone.push((door.name, door.host.gate.open()));
                gone.push(Departed {
                    listener: door.host.listener,
                    gate: Arc::downgrade(&door.host.gate),
                });
            }
            sets.push(door.sockets);
        }
        for planned in plan.doors {
            let Planned {
                name, host, cap, ..
            } = planned;
            host.gate.limit(cap);
            let sockets = match planned.from {
                From::Open(set) => {
                    if !before.contains(&(set, host.listener)) {
                        moves.moved.push((set, host.clone()));
                    }
                    let place = sets.iter().position(|one| one.set == set);
                    place.map(|place| sets.swap_remove(place))
                }
                From::Fresh(listening) => {
                    state.set += 1;
                    let (sockets, owned) = Sockets::of(listening, state.set);
                    told.opened
                        .push(bound(&name, &host, planned.tls, &sockets.bound));
                    fresh.push((state.set, host.clone(), owned));
                    Some(sockets)
                }
            };
            // A plan names no set but those that are open.
            let Some(sockets) = sockets else { continue };
            sockets.bound_sending(planned.send);
            state.open.push(Door {
                name,
                host,
                written: planned.written,
                sockets,
            });
        }
        moves.closed = sets.iter().map(|sockets| sockets.set).collect();
        moves.gone = gone.iter().map(|one| one.listener).collect();
        state.departed.retain(|one| one.gate.strong_count() > 0);
        state.departed.extend(gone);
        // The files of Unix sockets go before the sockets do, so that no other process finds them stale and replaces them first.
        drop(sets);
        drop(state);
        post(moves, fresh, mailboxes);
        told
    }

    /// The listeners as they are bound, in the order of their names. `config` is in force.
    pub(super) fn bound(&self, config: &Config) -> Vec<Bound> {
        let state = self.state();
        let each = state.open.iter().map(|door| {
            let written = config.listeners.get(&door.name);
            let tls = written.is_some_and(|written| written.tls.is_some());
            bound(&door.name, &door.host, tls, &door.sockets.bound)
        });
        each.collect()
    }

    /// Removes the files of all Unix sockets; for the end of the process.
    pub(super) fn unlink(&self) {
        for door in &mut self.state().open {
            door.sockets.file = None;
        }
    }

    /// Every open socket, for another process to serve as well.
    pub(super) fn lend(&self) -> Vec<Lent> {
        let state = self.state();
        let each = state.open.iter().map(|door| Lent {
            name: door.name.clone(),
            is_admin: false,
            is_own: door.sockets.is_own,
            written: door.written.to_string(),
            bound: door.sockets.bound.to_string(),
            sockets: door.sockets.held.iter().filter_map(Weak::upgrade).collect(),
        });
        each.collect()
    }

    /// Leaves everything to another process but what is bound to `unused`. Gives the sets of sockets that are the other's.
    pub(super) fn leave(&self, unused: &[String]) -> HashSet<usize> {
        let mut left = HashSet::new();
        for door in &mut self.state().open {
            let sockets = &mut door.sockets;
            let file = sockets.file.take();
            if !unused.contains(&sockets.bound.to_string()) {
                left.insert(sockets.set);
                if let Some(file) = file {
                    file.leave();
                }
            }
        }
        left
    }

    /// The process that bound them is about to go: the files of its Unix sockets are to be removed by this one.
    pub(super) fn come_into_files(&self) {
        for door in &mut self.state().open {
            let heir = door.sockets.heir.take();
            let file = heir.and_then(|path| SocketFile::left_behind(&path).ok());
            let before = door.sockets.file.take();
            door.sockets.file = file.or(before);
        }
    }
}

impl State {
    /// A listener that there was not before.
    fn host(&mut self, cap: usize) -> Host {
        let listener = self.listener;
        self.listener += 1;
        Host {
            listener,
            gate: Gate::new(cap),
        }
    }
}

impl Plan {
    /// The numbers of all listeners.
    pub(super) fn numbers(&self) -> Numbers {
        let each = self.doors.iter();
        each.map(|one| (one.name.clone(), one.host.listener))
            .collect()
    }
}

impl Sockets {
    fn of(listening: Listening, set: usize) -> (Self, Vec<Arc<OwnedFd>>) {
        let owned: Vec<Arc<OwnedFd>> = listening.sockets.into_iter().map(Arc::new).collect();
        let sockets = Self {
            set,
            bound: listening.address,
            held: owned.iter().map(Arc::downgrade).collect(),
            file: listening.file,
            heir: listening.heir,
            is_own: listening.is_own,
        };
        (sockets, owned)
    }

    /// How long who is accepted from now on may take nothing of what was sent.
    fn bound_sending(&self, send: Duration) {
        if let Address::Tcp(_) = &self.bound {
            for socket in self.held.iter().filter_map(Weak::upgrade) {
                // A listening TCP socket takes every time that the schema lets pass.
                let _ = accept::bound_sending(&socket, send);
            }
        }
    }
}

fn bound(name: &str, host: &Host, tls: bool, address: &Address) -> Bound {
    Bound {
        name: name.to_owned(),
        address: address.clone(),
        tls,
        gate: Arc::clone(&host.gate),
    }
}

/// Sockets that were bound just now, with their number and whom they accept for.
type Fresh = (usize, Host, Vec<Arc<OwnedFd>>);

/// Gives each worker its sockets; what has a single socket goes to one of them.
fn post(moves: Moves, fresh: Vec<Fresh>, mailboxes: &[Mailbox]) {
    if !(moves.closed.is_empty() && moves.moved.is_empty() && moves.gone.is_empty()) {
        let moves = Arc::new(moves);
        for mailbox in mailboxes {
            let _ = mailbox.inbox.send(Mail::Doors(Arc::clone(&moves)));
        }
    }
    for (set, host, sockets) in fresh {
        let several = sockets.len() > 1;
        for (index, socket) in sockets.into_iter().enumerate() {
            let place = if several { index } else { host.listener };
            let mailbox = &mailboxes[place % mailboxes.len()];
            let host = host.clone();
            let _ = mailbox.inbox.send(Mail::Listen { socket, set, host });
        }
    }
}

/// A listener by name, with its address as written.
type Place<'a> = (&'a str, &'a Address);

/// For each wanted listener the place in `open` of the one whose sockets it takes: its own where its address is the same,
/// else those of another that has the address now and does not keep it.
fn sources(open: &[Door], wanted: &[Place<'_>]) -> Vec<Option<usize>> {
    let own = |(name, address): &Place<'_>| {
        open.iter()
            .position(|door| door.name == *name && door.has(address))
    };
    let mut sources: Vec<Option<usize>> = wanted.iter().map(own).collect();
    for (place, (_, address)) in wanted.iter().enumerate() {
        if sources[place].is_none() {
            let free = |index: usize| !sources.contains(&Some(index));
            let mut others = open.iter().enumerate();
            let other = others.find(|(index, door)| door.has(address) && free(*index));
            sources[place] = other.map(|(index, _)| index);
        }
    }
    sources
}

impl Door {
    /// Whether its sockets are what this written address asks for.
    fn has(&self, address: &Address) -> bool {
        self.written == *address || self.sockets.bound == *address
    }
}

/// Whether two addresses cannot both be bound by strangers: the same port, where one of them is all addresses of the
/// family or both are one.
fn overlap(one: &Address, other: &Address) -> bool {
    let (Address::Tcp(one), Address::Tcp(other)) = (one, other) else {
        return false;
    };
    let any = |address: &SocketAddr| address.ip().is_unspecified();
    one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (any(one) || any(other) || one.ip() == other.ip())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::sync::mpsc;

    use super::*;

    fn tcp(text: &str) -> Address {
        Address::Tcp(text.parse().unwrap())
    }

    fn door(name: &str, written: &str, bound: &str) -> Door {
        let sockets = Sockets {
            set: 0,
            bound: tcp(bound),
            held: Vec::new(),
            file: None,
            heir: None,
            is_own: true,
        };
        let host = Host {
            listener: 0,
            gate: Gate::new(1),
        };
        let (name, written) = (name.to_owned(), tcp(written));
        Door {
            name,
            host,
            written,
            sockets,
        }
    }

    fn find(open: &[Door], wanted: &[(&str, &str)]) -> Vec<Option<usize>> {
        let addresses: Vec<Address> = wanted.iter().map(|(_, address)| tcp(address)).collect();
        let names = wanted.iter().map(|(name, _)| *name);
        let wanted: Vec<Place<'_>> = names.zip(&addresses).collect();
        sources(open, &wanted)
    }

    #[test]
    fn sockets_stay_with_their_name_and_go_with_their_address() {
        let open = [
            door("a", "127.0.0.1:0", "127.0.0.1:5001"),
            door("b", "127.0.0.1:5002", "127.0.0.1:5002"),
        ];
        let (a, b, new) = (Some(0), Some(1), None);
        let same = [("a", "127.0.0.1:0"), ("b", "127.0.0.1:5002")];
        assert_eq!(find(&open, &same), [a, b]);
        // Port 0 is served by what it became, and names it no less.
        assert_eq!(find(&open, &[("a", "127.0.0.1:5001")]), [a]);
        let swapped = [("a", "127.0.0.1:5002"), ("b", "127.0.0.1:5001")];
        assert_eq!(find(&open, &swapped), [b, a]);
        let renamed = [("c", "127.0.0.1:5002"), ("d", "127.0.0.1:0")];
        assert_eq!(find(&open, &renamed), [b, a]);
        // What keeps its sockets is not robbed by a name that sorts before it.
        let joined = [("0", "127.0.0.1:0"), ("a", "127.0.0.1:0")];
        assert_eq!(find(&open, &joined), [new, a]);
        assert_eq!(find(&open, &[("b", "127.0.0.1:5003")]), [new]);
    }

    proptest! {
        /// Whatever comes, goes and moves: no sockets serve two listeners, none are bound anew for an address that is open,
        /// and a listener that stays where it is keeps its own.
        #[test]
        fn what_is_open_is_used_once_and_by_its_own_first(
            before in shuffled(), after in shuffled(), open in 0..=4_usize, wanted in 0..=4_usize
        ) {
            let (before, after) = (&before[..open], &after[..wanted]);
            let at = |place: usize| format!("127.0.0.1:500{place}");
            let doors: Vec<Door> = before
                .iter()
                .map(|(name, place)| door(&name.to_string(), &at(*place), &at(*place)))
                .collect();
            let named: Vec<(String, Address)> = after
                .iter()
                .map(|(name, place)| (name.to_string(), tcp(&at(*place))))
                .collect();
            let places: Vec<Place<'_>> = named.iter().map(|(name, at)| (name.as_str(), at)).collect();
            let found = sources(&doors, &places);
            for (source, (name, place)) in found.iter().zip(after) {
                let holder = before.iter().position(|(_, at)| at == place);
                prop_assert_eq!(*source, holder);
                if before.contains(&(*name, *place)) {
                    prop_assert_eq!(source.map(|index| before[index].0), Some(*name));
                }
            }
        }
    }

    /// Four names, each with one of four addresses.
    fn shuffled() -> impl Strategy<Value = Vec<(char, usize)>> {
        let names = Just(vec!['a', 'b', 'c', 'd']).prop_shuffle();
        let places = Just(vec![0_usize, 1, 2, 3]).prop_shuffle();
        (names, places).prop_map(|(names, places)| names.into_iter().zip(places).collect())
    }

    #[test]
    fn addresses_overlap_when_the_system_would_refuse_the_second() {
        let cases = [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "0.0.0.0:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "0.0.0.0:81", false),
            ("0.0.0.0:80", "[::]:80", false),
        ];
        for (one, other, expected) in cases {
            assert_eq!(overlap(&tcp(one), &tcp(other)), expected, "{one} {other}");
        }
    }

    #[test]
    fn a_listener_that_comes_again_has_another_number() {
        let doors = Doors::new(1, Inherited::none());
        let config = |names: &[&str]| {
            let each = names.iter();
            let each = each.map(|name| format!("  {name}: {{ address: \"127.0.0.1:0\" }}\n"));
            let listeners: String = each.collect();
            let yaml =
                format!("listeners:\n{listeners}routes: [ {{ respond: {{ status: 204 }} }} ]\n");
            crate::config::read::from_text("test.yaml", &yaml, &|_| None)
                .unwrap()
                .config
        };
        let (inbox, mail) = mpsc::unbounded_channel();
        let mailboxes = [Mailbox::new(inbox)];
        let mut numbers = Vec::new();
        for names in [&["b"][..], &["a", "b"], &["b"], &["a", "b"]] {
            let plan = doors.plan(&config(names)).unwrap();
            numbers.push(plan.numbers().into_values().collect::<Vec<_>>());
            doors.adopt(plan, &mailboxes);
        }
        assert_eq!(numbers, [vec![0], vec![1, 0], vec![0], vec![2, 0]]);
        // As long as the worker has not read its mail, it may yet accept for the first `a`.
        assert!((0..3).all(|listener| doors.has_guests(listener)));
        drop(mail);
        assert!(doors.has_guests(0) && !doors.has_guests(1) && doors.has_guests(2));
    }
}
