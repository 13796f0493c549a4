//! Accept sockets: bound once per worker, so that the kernel spreads connections and no accept is shared.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::SocketFlags;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::crowd::{Crowd, Place};
use super::unix::{self, SocketFile, UnixError};
use crate::clock::wheel::Wheel;
use crate::config::{Address, ListenerTimeouts};
use crate::stream;

/// Connections that the kernel queues for one accept socket.
pub(super) const BACKLOG: i32 = 4096;
/// Accepted at once before other tasks of the worker get their turn.
const BATCH: usize = 64;
/// Pause after accepting failed, mostly for want of descriptors, and while a listener is at its cap.
const PAUSE: Duration = Duration::from_millis(50);

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "listener `{name}`: {address} is in use by another process; stop it or choose another address"
    )]
    InUse { name: String, address: String },
    #[error(
        "listener `{name}`: at {address} there is something else than a socket, which is left alone; move it away or \
         choose another path"
    )]
    NotASocket { name: String, address: String },
    #[error("listener `{name}`: cannot bind {address}: {source}")]
    Failed {
        name: String,
        address: String,
        source: io::Error,
    },
}

impl BindError {
    fn of(error: UnixError, name: &str, address: &Address) -> Self {
        let (name, address) = (name.to_owned(), show(address));
        match error {
            UnixError::NotASocket => Self::NotASocket { name, address },
            UnixError::InUse => Self::InUse { name, address },
            UnixError::Io(source) if source.kind() == io::ErrorKind::AddrInUse => {
                Self::InUse { name, address }
            }
            UnixError::Io(source) => Self::Failed {
                name,
                address,
                source,
            },
        }
    }
}

/// A listener's bound sockets: one per worker for TCP, a single one for a Unix socket.
#[derive(Debug)]
pub struct Listening {
    /// As bound: a configured port 0 became a real one.
    pub address: Address,
    pub sockets: Vec<OwnedFd>,
    /// Of a Unix socket: removed when dropped.
    pub file: Option<SocketFile>,
    /// The path of a Unix socket whose file another process removes, as long as that one serves.
    pub heir: Option<PathBuf>,
    /// As of [`Given::is_own`].
    pub is_own: bool,
}

/// Sockets that somebody else has bound.
#[derive(Debug)]
pub struct Given {
    /// Where the first of them is bound.
    pub address: Address,
    pub sockets: Vec<OwnedFd>,
    /// Whether a process of this program has bound them: then others may join them, and the last process removes the
    /// file of a Unix socket.
    pub is_own: bool,
}

/// Counts the open connections of a listener over all workers.
#[derive(Debug)]
pub struct Gate {
    open: AtomicUsize,
    cap: AtomicUsize,
    /// Nobody is let in for the time being.
    shut: AtomicBool,
    crowd: Arc<Crowd>,
}

impl Gate {
    /// At most `cap` at once.
    pub fn new(cap: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            cap: AtomicUsize::new(cap),
            shut: AtomicBool::new(false),
            crowd: Arc::default(),
        })
    }

    /// From now on at most `cap` at once; those that are open stay.
    pub fn limit(&self, cap: usize) {
        self.cap.store(cap, Ordering::Relaxed);
    }

    /// Open connections now.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Lets nobody in, so that clients wait in the system's queue; or lets them in again.
    pub fn shut(&self, is_shut: bool) {
        self.shut.store(is_shut, Ordering::Relaxed);
    }

    /// Addresses that are counted now.
    pub fn addresses(&self) -> usize {
        self.crowd.addresses()
    }

    fn enter(self: &Arc<Self>) -> Option<Pass> {
        if self.shut.load(Ordering::Relaxed) {
            return None;
        }
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.cap.load(Ordering::Relaxed) {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Pass(Arc::clone(self)))
    }
}

/// Held as long as its connection is open.
#[derive(Debug)]
pub struct Pass(Arc<Gate>);

impl Pass {
    /// A place among the connections of an address, unless it has `cap` of this listener.
    pub fn place(&self, address: IpAddr, cap: usize) -> Option<Place> {
        self.0.crowd.enter(address, cap)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An accepted connection, not yet registered with any reactor: it may still change the worker.
#[derive(Debug)]
pub struct Accepted {
    pub socket: OwnedFd,
    /// `None` on a Unix socket.
    pub peer: Option<SocketAddr>,
    /// The number of its listener.
    pub listener: usize,
    pub pass: Pass,
}

impl Accepted {
    /// The client's address.
    pub fn ip(&self) -> Option<IpAddr> {
        // A v4 client on a dual-stack socket is shown as v4.
        self.peer.map(|peer| peer.ip().to_canonical())
    }
}

/// Binds the address of a listener for so many workers. It is first bound without SO_REUSEPORT, so that a second process
/// on it fails instead of taking half of the traffic; `probe: false` skips that, where this process is on it already.
pub fn bind(
    name: &str,
    address: &Address,
    workers: usize,
    probe: bool,
) -> Result<Listening, BindError> {
    let (bound, sockets, file) = match address {
        Address::Tcp(wanted) => {
            let (bound, sockets) = bind_tcp(*wanted, workers, probe)
                .map_err(|error| BindError::of(error.into(), name, address))?;
            (Address::Tcp(bound), sockets, None)
        }
        Address::Unix(path) => {
            let (socket, file) =
                unix::bind(path).map_err(|error| BindError::of(error, name, address))?;
            (address.clone(), vec![socket], Some(file))
        }
    };
    Ok(Listening {
        address: bound,
        sockets,
        file,
        heir: None,
        is_own: true,
    })
}

/// Listens with sockets that somebody else has bound, whoever else does meanwhile. Where there are fewer than workers,
/// and another process has bound them as this one would, others join them as far as the system lets them.
pub fn adopt(name: &str, given: Given, workers: usize) -> Result<Listening, BindError> {
    let Given {
        address,
        mut sockets,
        is_own,
    } = given;
    for socket in &sockets {
        prepare(socket, &address).map_err(|error| BindError::of(error.into(), name, &address))?;
    }
    if let Address::Tcp(address) = &address
        && is_own
    {
        let missing = workers.saturating_sub(sockets.len());
        // Without them some workers get their connections from others.
        if let Ok((_, more)) = bind_tcp(*address, missing, false) {
            sockets.extend(more);
        }
    }
    let heir = match &address {
        Address::Unix(path) if is_own => Some(path.clone()),
        Address::Unix(_) | Address::Tcp(_) => None,
    };
    Ok(Listening {
        address,
        sockets,
        file: None,
        heir,
        is_own,
    })
}

/// What a socket of one's own is bound with.
fn prepare(socket: &OwnedFd, address: &Address) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_nonblocking(true)?;
    // Of one that does not listen yet; of any other it is the length of its queue.
    socket.listen(BACKLOG)?;
    if let Address::Tcp(_) = address {
        inherited_options(&socket)?;
    }
    Ok(())
}

fn show(address: &Address) -> String {
    match address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(path) => format!("unix:{}", path.display()),
    }
}

fn bind_tcp(
    wanted: SocketAddr,
    workers: usize,
    probe: bool,
) -> io::Result<(SocketAddr, Vec<OwnedFd>)> {
    let mut address = wanted;
    if probe {
        let probed = tcp_socket(address, false)?;
        // Port 0: the probe has found a free one, which the real sockets then share.
        address = probed.local_addr()?.as_socket().unwrap_or(address);
    }
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = tcp_socket(address, true)?;
        address = socket.local_addr()?.as_socket().unwrap_or(address);
        socket.listen(BACKLOG)?;
        sockets.push(socket.into());
    }
    Ok((address, sockets))
}

fn tcp_socket(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        None,
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` means IPv6 alone: a v4 listener on the same port is written beside it.
        socket.set_only_v6(true)?;
    }
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    inherited_options(&SockRef::from(&socket))?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// Accepted sockets inherit all four.
fn inherited_options(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(stream::UNSENT)?;
    socket.set_tcp_user_timeout(Some(ListenerTimeouts::default().send))?;
    // Urgent data has no meaning in HTTP. Where it is kept apart, `splice` stops before it and never goes on.
    socket.set_out_of_band_inline(true)
}

/// Clients that are accepted from now on may take nothing of what was sent to them for so long. Of a TCP socket.
pub fn bound_sending(socket: &OwnedFd, send: Duration) -> io::Result<()> {
    SockRef::from(socket).set_tcp_user_timeout(Some(send))
}

/// What a worker needs to accept from one socket.
pub struct Acceptor {
    /// Shared with whoever hands sockets to another process; closed with the acceptor.
    pub socket: AsyncFd<Arc<OwnedFd>>,
    /// For whom it accepts; a reload may hand it to another listener.
    pub host: RefCell<Host>,
}

/// For whom a socket accepts.
#[derive(Debug, Clone)]
pub struct Host {
    /// The number of the listener: given once in the life of the process.
    pub listener: usize,
    pub gate: Arc<Gate>,
}

impl Acceptor {
    /// Registers the socket with the reactor of the calling worker.
    #[expect(
        deprecated,
        reason = "its successor is an unsafe fn; an OwnedFd upholds what that asks for"
    )]
    pub fn new(socket: Arc<OwnedFd>, host: Host) -> io::Result<Self> {
        Ok(Self {
            socket: AsyncFd::with_interest(socket, tokio::io::Interest::READABLE)?,
            host: RefCell::new(host),
        })
    }

    /// Accepts for ever and hands each connection to `take`.
    pub async fn run(&self, wheel: &Wheel, mut take: impl FnMut(Accepted)) {
        loop {
            let Ok(mut ready) = self.socket.readable().await else {
                return;
            };
            for _ in 0..BATCH {
                match self.accept() {
                    Ok(Some(accepted)) => take(accepted),
                    Err(Errno::AGAIN) => {
                        ready.clear_ready();
                        break;
                    }
                    // The client gave up before it was accepted, or a signal came in between.
                    Err(Errno::CONNABORTED | Errno::INTR) => {}
                    // At the cap, clients wait in the kernel's queue. Descriptors or memory may come back; whatever
                    // else it is, asking again at once would take the whole worker for nothing.
                    Ok(None) | Err(_) => {
                        wheel.sleep(PAUSE).await;
                        break;
                    }
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Accepts what waits in the kernel's queue: closing the socket would reset these clients, who think that they are
    /// connected.
    pub fn empty_queue(&self, mut take: impl FnMut(Accepted)) {
        // However short memory is, it is for those who wait for the last time.
        self.host.borrow().gate.shut(false);
        for _ in 0..BACKLOG {
            match self.accept() {
                Ok(Some(accepted)) => take(accepted),
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// One connection; `None` at the listener's cap.
    fn accept(&self) -> Result<Option<Accepted>, Errno> {
        let host = self.host.borrow();
        let Some(pass) = host.gate.enter() else {
            return Ok(None);
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let (socket, peer) = rustix::net::acceptfrom_with(self.socket.get_ref(), flags)?;
        Ok(Some(Accepted {
            socket,
            peer: peer.and_then(|peer| SocketAddr::try_from(peer).ok()),
            listener: host.listener,
            pass,
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;
    use crate::clock::Clock;

    #[test]
    fn what_is_accepted_holds_little_unsent_not_for_ever_and_keeps_urgent_data_in_line() {
        let (address, sockets) = bind_tcp("127.0.0.1:0".parse().unwrap(), 1, true).unwrap();
        let socket = sockets.into_iter().next().unwrap();
        let default = SockRef::from(&socket).tcp_user_timeout().unwrap();
        assert_eq!(default, Some(ListenerTimeouts::default().send));
        let send = Duration::from_secs(7);
        bound_sending(&socket, send).unwrap();
        let listening = Socket::from(socket);
        listening.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(address).unwrap();
        let (accepted, _) = listening.accept().unwrap();
        assert!(accepted.tcp_nodelay().unwrap());
        assert_eq!(accepted.tcp_notsent_lowat().unwrap(), stream::UNSENT);
        assert!(accepted.out_of_band_inline().unwrap());
        assert_eq!(accepted.tcp_user_timeout().unwrap(), Some(send));
    }

    #[tokio::test(flavor = "local")]
    async fn a_socket_that_cannot_accept_does_not_keep_the_worker_busy() {
        let wheel = Wheel::new(Clock::system());
        let runner = wheel.clone();
        tokio::task::spawn_local(async move { runner.run().await });
        // Nobody called listen: it counts as ready, and accepting fails for ever.
        let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None).unwrap();
        let host = Host {
            listener: 0,
            gate: Gate::new(1),
        };
        let acceptor = Acceptor::new(Arc::new(socket.into()), host).unwrap();
        let mut accepting = pin!(acceptor.run(&wheel, |_| unreachable!("nothing was accepted")));
        let mut polls = 0;
        let counted = poll_fn(|cx| {
            polls += 1;
            accepting.as_mut().poll(cx)
        });
        assert!(wheel.timeout(4 * PAUSE, counted).await.is_none());
        assert!((2..20).contains(&polls), "{polls}");
    }
}
