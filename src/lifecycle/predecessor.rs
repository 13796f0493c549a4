//! The process that this one is to take over from, seen from here: what it bound, and what it is told.

use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::RecvFlags;

use super::handover::{self, MARK, Offer, Reply};
use super::inherited::{Group, Inherited};
use crate::config::Address;
use crate::listener::accept::Given;

/// The process that serves until this one does. It listens at the other end of this one's standard input.
#[derive(Debug)]
pub struct Predecessor {
    socket: OwnedFd,
}

impl Predecessor {
    /// The process that started this one as its successor, with all that it has bound; `None` where none did.
    pub fn find(
        variable: &dyn Fn(&str) -> Option<OsString>,
    ) -> io::Result<Option<(Self, Inherited)>> {
        if variable(MARK).is_none() {
            return Ok(None);
        }
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        let inherited = receive_all(&socket).map_err(|error| {
            io::Error::new(
                error.kind(),
                format!("{MARK} is set, and no process hands over: {error}"),
            )
        })?;
        Ok(Some((Self { socket }, inherited)))
    }

    /// Says why this process will not take over.
    pub fn refuse(&self, reason: &str) {
        // Where it is gone, too, nobody is left to be told.
        let _ = handover::send(&self.socket, &Reply::refused(reason), &[]);
    }

    /// Says that this process serves.
    pub(super) fn tell_ready(&self, unused: &[(String, Address)]) {
        let unused = unused.iter().map(|(_, address)| address.to_string());
        let ready = Reply::Ready {
            process: std::process::id(),
            unused: unused.collect(),
        };
        let _ = handover::send(&self.socket, &ready, &[]);
    }

    /// Whether it has let this process take over, or is gone; does not wait.
    pub(super) fn has_left(&self) -> bool {
        match handover::receive::<Offer>(&self.socket, RecvFlags::DONTWAIT) {
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
            Ok(_) => true,
        }
    }
}

fn receive_all(socket: &OwnedFd) -> io::Result<Inherited> {
    let mut groups: Vec<Group> = Vec::new();
    loop {
        let offer = handover::receive(socket, RecvFlags::empty())?;
        let (offer, sockets) = offer.ok_or(io::ErrorKind::UnexpectedEof)?;
        let Offer::Sockets {
            name,
            is_admin,
            is_own,
            written,
            bound,
        } = offer
        else {
            return Ok(Inherited::of(groups));
        };
        let address = |text: &str| {
            text.parse::<Address>()
                .map_err(|error| io::Error::other(format!("{text}: {error}")))
        };
        let address = (address(&written)?, address(&bound)?);
        let known = groups.iter_mut().find(|group| {
            group.name == name
                && group.is_admin == Some(is_admin)
                && group.given.address == address.1
        });
        match known {
            Some(group) => group.given.sockets.extend(sockets),
            None => groups.push(Group {
                name,
                is_admin: Some(is_admin),
                written: Some(address.0),
                given: Given {
                    address: address.1,
                    sockets,
                    is_own,
                },
            }),
        }
    }
}
