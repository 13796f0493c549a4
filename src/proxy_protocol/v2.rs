//! Version 2 of the PROXY header: binary, with room for more behind the addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Error, Found, Header, LONGEST, SIGNATURE, alike, mark};

/// Signature, version and command, family, length.
const FIXED: usize = 16;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX: u8 = 0x31;

/// The type of what holds the checksum over the whole header.
const CRC32C: u8 = 0x03;

pub(super) fn read(bytes: &[u8]) -> Result<Option<Found>, Error> {
    if mark(bytes, SIGNATURE)?.is_none() {
        return Ok(None);
    }
    let Some(fixed) = bytes.get(..FIXED) else {
        return Ok(None);
    };
    let length = FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > LONGEST {
        return Err(Error::Malformed);
    }
    let Some(whole) = bytes.get(..length) else {
        return Ok(None);
    };
    let header = parse(whole).ok_or(Error::Malformed)?;
    Ok(Some(Found { length, header }))
}

fn parse(whole: &[u8]) -> Option<Header> {
    let (command, family, rest) = (whole[12], whole[13], &whole[FIXED..]);
    match (command, family) {
        // What follows is to be discarded, whatever it is.
        (LOCAL, _) => Some(Header::Local),
        (PROXY, UNSPECIFIED) => Some(Header::Unknown),
        (PROXY, TCP4) => {
            let (addresses, more) = rest.split_first_chunk::<12>()?;
            check(whole, more)?;
            let [a, b, c, d, e, f, g, h, ports @ ..] = *addresses;
            Some(told(
                Ipv4Addr::new(a, b, c, d).into(),
                Ipv4Addr::new(e, f, g, h).into(),
                ports,
            ))
        }
        (PROXY, TCP6) => {
            let (source, rest) = rest.split_first_chunk::<16>()?;
            let (destination, rest) = rest.split_first_chunk::<16>()?;
            let (ports, more) = rest.split_first_chunk::<4>()?;
            check(whole, more)?;
            Some(told(
                Ipv6Addr::from(*source).into(),
                Ipv6Addr::from(*destination).into(),
                *ports,
            ))
        }
        (PROXY, UNIX) => {
            let (_, more) = rest.split_first_chunk::<216>()?;
            check(whole, more)?;
            Some(Header::Unknown)
        }
        // Datagrams, and what there is not: a stream is none of them.
        _ => None,
    }
}

fn told(source: IpAddr, destination: IpAddr, ports: [u8; 4]) -> Header {
    let [a, b, c, d] = ports;
    Header::Told {
        source: SocketAddr::new(source, u16::from_be_bytes([a, b])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([c, d])),
    }
}

/// Goes through what stands behind the addresses: each has a type, a length and so many bytes. Only the checksum is looked
/// at.
fn check(whole: &[u8], mut more: &[u8]) -> Option<()> {
    while !more.is_empty() {
        let ([kind, high, low], rest) = more.split_first_chunk::<3>()?;
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let value = rest.get(..length)?;
        if *kind == CRC32C {
            let wanted = u32::from_be_bytes(value.try_into().ok()?);
            // It stands in the header that it is made over, where it counts as zero.
            let at = whole.len() - rest.len();
            let zeroed = [&whole[..at], &[0; 4], &whole[at + 4..]];
            if crc32c(zeroed.into_iter().flatten().copied()) != wanted {
                return None;
            }
        }
        more = &rest[length..];
    }
    Some(())
}

/// CRC-32C (RFC 9260, appendix A), bit by bit: a header is a hundred bytes, and few carry a checksum.
pub(super) fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    let shifted = |value: u32, _| (value >> 1) ^ (0x82f6_3b78 & (value & 1).wrapping_neg());
    !bytes.fold(u32::MAX, |value, byte| {
        (0..8).fold(value ^ u32::from(byte), shifted)
    })
}

pub(super) fn write(header: &Header) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    let Header::Told {
        source,
        destination,
    } = header
    else {
        let is_local = matches!(header, Header::Local);
        let command = if is_local { LOCAL } else { PROXY };
        bytes.extend([command, UNSPECIFIED, 0, 0]);
        return bytes;
    };
    let (source, destination) = alike(*source, *destination);
    let (family, length) = if source.is_ipv4() {
        (TCP4, 12)
    } else {
        (TCP6, 36)
    };
    bytes.extend([PROXY, family, 0, length]);
    for address in [source.ip(), destination.ip()] {
        match address {
            IpAddr::V4(v4) => bytes.extend(v4.octets()),
            IpAddr::V6(v6) => bytes.extend(v6.octets()),
        }
    }
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    bytes
}
