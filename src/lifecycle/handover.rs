//! What is said between a process that serves and the one that takes over from it: packets of JSON over a socket pair,
//! with listening sockets beside them (SCM_RIGHTS, unix(7)).
//!
//! 1. The one that serves starts its successor, by way of a process [between](super::between) them, with an end of the
//!    pair as standard input, and sends every socket.
//! 2. The successor serves with them, and says so once all of its workers do; or why it will not.
//! 3. The one that serves ends the process between, tells the service manager, answers, accepts nothing new and
//!    finishes what runs.
//!
//! Until 2 the one that serves serves, whatever becomes of the other. In between both do, from the same queues, so that
//! no connection that waits in one is lost.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Set in the environment of a successor, to the word for what it is.
pub(super) const MARK: &str = "PLIMSOLL_UPGRADE";
/// The word for the process that starts the successor.
pub(super) const BETWEEN: &str = "between";
/// The word for the successor itself.
pub(super) const SUCCESSOR: &str = "successor";
/// Sockets beside one packet: the kernel takes 253.
pub(super) const BATCH: usize = 128;
/// Bytes of a packet.
const LONGEST: usize = 32 * 1024;
/// Characters of a reason.
const REASON: usize = 4096;

/// From the one that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Offer {
    /// Some of the sockets of a listener, or of the admin API.
    Sockets {
        name: String,
        is_admin: bool,
        /// Whether a process of this program has bound them, and not the service manager.
        is_own: bool,
        written: String,
        bound: String,
    },
    /// Those were all.
    End,
    /// The other serves from now on.
    Go,
}

/// From the one that takes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    /// It serves, as this process. Nobody accepts from the sockets that are bound to these any more.
    Ready { process: u32, unused: Vec<String> },
    /// It will not serve.
    Refused { reason: String },
}

impl Reply {
    /// A refusal that fits a packet.
    pub(super) fn refused(reason: &str) -> Self {
        let reason = reason.chars().take(REASON).collect();
        Self::Refused { reason }
    }
}

/// Sends a packet with at most [`BATCH`] sockets.
pub(super) fn send<T: Serialize>(
    socket: impl AsFd,
    packet: &T,
    sockets: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let text = serde_json::to_vec(packet)?;
    let rights = SendAncillaryMessage::ScmRights(sockets);
    let mut space = vec![MaybeUninit::uninit(); rights.size()];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !sockets.is_empty() && !beside.push(rights) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let text = [IoSlice::new(&text)];
    retry_on_intr(|| sendmsg(&socket, &text, &mut beside, SendFlags::NOSIGNAL))?;
    Ok(())
}

/// Receives a packet; `None` when the other side is gone.
pub(super) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
    flags: RecvFlags,
) -> io::Result<Option<(T, Vec<OwnedFd>)>> {
    let mut text = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let got = retry_on_intr(|| {
        recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut text)],
            &mut beside,
            flags,
        )
    })?;
    let mut sockets = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            sockets.extend(rights);
        }
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    if got
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::Error::other("a packet was cut short"));
    }
    let packet = serde_json::from_slice(&text[..got.bytes])?;
    Ok(Some((packet, sockets)))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    use super::*;

    fn pair() -> (OwnedFd, OwnedFd) {
        let family = AddressFamily::UNIX;
        socketpair(family, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn a_socket_that_was_sent_accepts_what_waits_in_its_queue() {
        let (ours, theirs) = pair();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let offer = Offer::Sockets {
            name: "web".to_owned(),
            is_admin: false,
            is_own: true,
            written: "127.0.0.1:0".to_owned(),
            bound: listener.local_addr().unwrap().to_string(),
        };
        send(&ours, &offer, &[listener.as_fd()]).unwrap();
        drop(listener);
        let (received, sockets) = receive::<Offer>(&theirs, RecvFlags::empty())
            .unwrap()
            .unwrap();
        assert_eq!((received, sockets.len()), (offer, 1));
        let listener = TcpListener::from(sockets.into_iter().next().unwrap());
        let (mut accepted, _) = listener.accept().unwrap();
        accepted.write_all(b"x").unwrap();
        assert_eq!(client.read(&mut [0; 2]).unwrap(), 1);
    }

    #[test]
    fn as_many_as_a_batch_arrive_and_the_end_is_told_from_a_packet() {
        let (ours, theirs) = pair();
        let each = vec![ours.as_fd(); BATCH];
        send(&ours, &Offer::End, &each).unwrap();
        let (received, sockets) = receive::<Offer>(&theirs, RecvFlags::empty())
            .unwrap()
            .unwrap();
        assert_eq!((received, sockets.len()), (Offer::End, BATCH));
        drop(sockets);
        let empty = receive::<Offer>(&theirs, RecvFlags::DONTWAIT);
        assert_eq!(empty.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(ours);
        assert!(
            receive::<Offer>(&theirs, RecvFlags::empty())
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn what_is_no_packet_is_an_error_and_a_long_reason_is_cut() {
        let (ours, theirs) = pair();
        send(&ours, &"other", &[]).unwrap();
        assert!(receive::<Offer>(&theirs, RecvFlags::empty()).is_err());
        send(&ours, &Reply::refused(&"ü".repeat(100_000)), &[]).unwrap();
        let received = receive::<Reply>(&theirs, RecvFlags::empty()).unwrap();
        let Some((Reply::Refused { reason }, _)) = received else {
            panic!("{received:?}");
        };
        assert_eq!(reason.chars().count(), REASON);
    }
}
