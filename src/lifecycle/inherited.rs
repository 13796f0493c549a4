//! Listening sockets that were bound before this process began: by the service manager (socket activation,
//! sd_listen_fds(3)), or by the process that this one replaces. A listener takes those that are meant for it, and binds
//! nothing then.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;

use crate::config::Address;
use crate::listener::accept::Given;

/// The name of the admin API among listeners.
pub(super) const ADMIN: &str = "admin";

/// Whom a socket is meant for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role<'a> {
    Listener(&'a str),
    Admin,
}

impl Role<'_> {
    pub(super) const fn name(&self) -> &str {
        match self {
            Self::Listener(name) => name,
            Self::Admin => ADMIN,
        }
    }
}

/// What was bound before, as far as nobody has taken it.
#[derive(Debug, Default)]
pub struct Inherited {
    groups: Vec<Group>,
}

/// Sockets that belong together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) name: String,
    /// Whether it is the admin API's; where that is not known the name decides.
    pub(super) is_admin: Option<bool>,
    /// The address as it was written; none where nobody wrote one that the name would not outweigh.
    pub(super) written: Option<Address>,
    pub(super) given: Given,
}

impl Group {
    fn has_name(&self, role: Role<'_>) -> bool {
        let is_same = self.name == role.name();
        is_same && self.is_admin.is_none_or(|is| is == (role == Role::Admin))
    }

    fn has_address(&self, address: &Address) -> bool {
        self.written.as_ref() == Some(address) || self.given.address == *address
    }

    /// Whether the name is enough: whoever wrote it has chosen the address elsewhere.
    const fn is_named(&self) -> bool {
        self.written.is_none()
    }
}

impl Inherited {
    /// Nothing.
    pub fn none() -> Self {
        Self::default()
    }

    pub(super) const fn of(groups: Vec<Group>) -> Self {
        Self { groups }
    }

    /// What the service manager has bound. Only of a process that it started itself: `LISTEN_PID` says which.
    pub fn from_manager(variable: &dyn Fn(&str) -> Option<OsString>) -> io::Result<Self> {
        let mut passed = ListenFd::from_env();
        let names = variable("LISTEN_FDNAMES").and_then(|names| names.into_string().ok());
        let names: Vec<&str> = names
            .as_deref()
            .map_or(Vec::new(), |all| all.split(':').collect());
        let mut inherited = Self::none();
        for index in 0..passed.len() {
            let name = names.get(index).copied().unwrap_or("unknown");
            let socket = take(&mut passed, index).map_err(|error| {
                let text =
                    format!("the socket `{name}` of the service manager is of no use: {error}");
                io::Error::new(error.kind(), text)
            })?;
            let Some((address, socket)) = socket else {
                continue;
            };
            inherited.add(name, address, socket);
        }
        Ok(inherited)
    }

    fn add(&mut self, name: &str, address: Address, socket: OwnedFd) {
        let given = Given {
            address,
            sockets: vec![socket],
            is_own: false,
        };
        self.groups.push(Group {
            name: name.to_owned(),
            is_admin: None,
            written: None,
            given,
        });
    }

    /// Takes what is meant for this one: what has its name, else what has its address.
    pub(super) fn take(&mut self, role: Role<'_>, written: &Address) -> Option<Given> {
        let named = |group: &Group| {
            group.has_name(role) && (group.is_named() || group.has_address(written))
        };
        // A group of another's name may have this address, and still be that other's: of two with port 0, say.
        let addressed = |group: &Group| {
            group.is_admin.is_none_or(|is| is == (role == Role::Admin))
                && group.has_address(written)
        };
        let place = self.groups.iter().position(named);
        let place = place.or_else(|| self.groups.iter().position(addressed))?;
        let mut given = self.groups.remove(place).given;
        // The manager gives each of several addresses of one name apart.
        while let Some(more) = self
            .groups
            .iter()
            .position(|one| one.is_named() && named(one))
        {
            given.sockets.extend(self.groups.remove(more).given.sockets);
        }
        Some(given)
    }

    /// Those that nobody has taken, as `name` and address; their sockets are closed.
    pub(super) fn leave(&mut self) -> Vec<(String, Address)> {
        let left = self.groups.drain(..);
        left.map(|group| (group.name, group.given.address))
            .collect()
    }
}

/// One of the sockets that the manager passed, with where it is bound.
fn take(passed: &mut ListenFd, index: usize) -> io::Result<Option<(Address, OwnedFd)>> {
    match passed.take_tcp_listener(index) {
        Ok(None) => Ok(None),
        Ok(Some(socket)) => {
            let address = socket.local_addr()?;
            Ok(Some((Address::Tcp(address), socket.into())))
        }
        Err(_) => match passed.take_unix_listener(index)? {
            None => Ok(None),
            Some(socket) => {
                let address = socket.local_addr()?;
                let Some(path) = address.as_pathname() else {
                    let message = "it has no path";
                    return Err(io::Error::new(io::ErrorKind::Unsupported, message));
                };
                Ok(Some((Address::Unix(path.to_owned()), socket.into())))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(text: &str) -> Address {
        Address::Tcp(text.parse().unwrap())
    }

    fn socket() -> OwnedFd {
        std::net::TcpListener::bind("127.0.0.1:0").unwrap().into()
    }

    fn of_manager(sockets: &[(&str, &str)]) -> Inherited {
        let mut inherited = Inherited::none();
        for (name, address) in sockets {
            inherited.add(name, tcp(address), socket());
        }
        inherited
    }

    fn of_predecessor(sockets: &[(&str, bool, &str, &str)]) -> Inherited {
        let group = |(name, is_admin, written, bound): &(&str, bool, &str, &str)| Group {
            name: (*name).to_owned(),
            is_admin: Some(*is_admin),
            written: Some(tcp(written)),
            given: Given {
                address: tcp(bound),
                sockets: vec![socket(), socket()],
                is_own: true,
            },
        };
        Inherited::of(sockets.iter().map(group).collect())
    }

    fn taken(inherited: &mut Inherited, role: Role<'_>, written: &str) -> Option<String> {
        let given = inherited.take(role, &tcp(written))?;
        Some(format!("{} x{}", given.address, given.sockets.len()))
    }

    #[test]
    fn the_manager_names_a_listener_whatever_its_address_or_gives_an_address_whatever_its_name() {
        let mut inherited = of_manager(&[
            ("plimsoll.socket", "127.0.0.1:80"),
            ("web", "127.0.0.1:81"),
            ("web", "127.0.0.1:82"),
            ("admin", "127.0.0.1:99"),
            ("odd", "127.0.0.1:83"),
        ]);
        let (web, other) = (Role::Listener("web"), Role::Listener("other"));
        assert_eq!(taken(&mut inherited, other, "127.0.0.1:84"), None);
        let both = Some("127.0.0.1:81 x2".to_owned());
        assert_eq!(taken(&mut inherited, web, "0.0.0.0:8080"), both);
        let first = Some("127.0.0.1:80 x1".to_owned());
        assert_eq!(taken(&mut inherited, other, "127.0.0.1:80"), first);
        let admin = Some("127.0.0.1:99 x1".to_owned());
        assert_eq!(taken(&mut inherited, Role::Admin, "127.0.0.1:9900"), admin);
        assert_eq!(inherited.leave(), [("odd".to_owned(), tcp("127.0.0.1:83"))]);
    }

    #[test]
    fn a_successor_takes_what_its_own_configuration_asks_for() {
        let mut inherited = of_predecessor(&[
            ("a", false, "127.0.0.1:0", "127.0.0.1:5001"),
            ("b", false, "127.0.0.1:0", "127.0.0.1:5002"),
            ("c", false, "127.0.0.1:5003", "127.0.0.1:5003"),
            ("admin", true, "127.0.0.1:0", "127.0.0.1:5004"),
        ]);
        let take = |inherited: &mut Inherited, name, written| {
            taken(inherited, Role::Listener(name), written)
        };
        let of = |port: u16| Some(format!("127.0.0.1:{port} x2"));
        assert_eq!(take(&mut inherited, "b", "127.0.0.1:0"), of(5002));
        // Renamed, and moved elsewhere.
        assert_eq!(take(&mut inherited, "d", "127.0.0.1:5003"), of(5003));
        assert_eq!(take(&mut inherited, "c", "127.0.0.1:5005"), None);
        // A listener never gets what is the admin API's.
        assert_eq!(take(&mut inherited, "admin", "127.0.0.1:5004"), None);
        assert_eq!(taken(&mut inherited, Role::Admin, "127.0.0.1:0"), of(5004));
        assert_eq!(inherited.leave().len(), 1);
    }
}
