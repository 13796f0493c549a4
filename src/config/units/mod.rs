//! How quantities are written: durations, sizes, shares, numbers with a point; `rates`, and `addresses`.
//!
//! Each is strict (one number, one unit, no blanks) and reads back what it writes. The errors
//! never repeat the text that they refuse: it may have come from an environment variable.

mod addresses;
mod rates;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub(crate) use addresses::is_host_name;
pub use addresses::{Target, masked};
pub use rates::{Per, Rate};

use super::schema::Network;

/// Why a text is not the quantity that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("a number comes first")]
    NoNumber,
    #[error("the unit is missing; write one of {0}")]
    NoUnit(&'static str),
    #[error("the unit is none of {0}")]
    UnknownUnit(&'static str),
    #[error("only whole numbers are read; take a smaller unit")]
    Fraction,
    #[error("the number is too large")]
    TooLarge,
    #[error("write a share as a percentage of at most four decimals, such as `10%`")]
    Share,
    #[error("write a number of at most three decimals and without a sign, such as `1.25`")]
    Decimal,
    #[error(
        "write a whole number for each second, minute or hour, such as `100/s`, `30/m` or `1000/h`"
    )]
    Rate,
    #[error("write an IP address and a prefix length, such as `10.0.0.0/8`")]
    Network,
    #[error("the prefix length goes up to {0}")]
    Prefix(u8),
    #[error("bits after the prefix length are set; the network would be {0}")]
    HostBits(Network),
    #[error("write the path after `unix:` in full, such as `unix:/run/plimsoll.sock`")]
    UnixPath,
    #[error("the path of a Unix socket holds at most 107 bytes")]
    UnixPathLength,
    #[error(
        "write the name of SRV records after `srv:`, without a port, such as `srv:_http._tcp.api.internal`"
    )]
    Srv,
    #[error("the port is missing; write it after a colon, such as `:8080`")]
    NoPort,
    #[error("a port is a number from {0} to 65535")]
    Port(u16),
    #[error(
        "write an IP address and a port, such as `0.0.0.0:8080` or `[::]:8080`, or `unix:/path`"
    )]
    Address,
    #[error("the address is missing before the port; all addresses are `0.0.0.0` or `[::]`")]
    NoAddress,
    #[error("put brackets around an IPv6 address, such as `[::1]:8080`")]
    Brackets,
    #[error("leave the scheme out; `tls` and `protocol` of the upstream say how to speak to it")]
    Scheme,
    #[error("a host name has letters, digits, `-`, `_` and dots")]
    HostName,
}

const DURATION_UNITS: &str = "`ns`, `us`, `ms`, `s`, `m`, `h`, `d`";
const SIZE_UNITS: &str = "`B`, `KiB`, `MiB`, `GiB`";

/// Nanoseconds of each unit, the largest first.
const DURATIONS: [(&str, u128); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Bytes of each unit, the largest first. Only powers of 1024, so that nobody has to guess.
const SIZES: [(&str, u128); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// Reads `250ms`, `10s`, `1h`.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let nanoseconds = parse_quantity(text, &DURATIONS, DURATION_UNITS)?;
    let seconds = u64::try_from(nanoseconds / 1_000_000_000).map_err(|_| UnitError::TooLarge)?;
    Ok(Duration::new(seconds, (nanoseconds % 1_000_000_000) as u32))
}

/// Writes a duration in the largest unit that leaves no remainder.
pub fn format_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        "0s".to_owned()
    } else {
        format_quantity(nanoseconds, &DURATIONS)
    }
}

/// Reads `512B`, `64KiB`, `10MiB`, `1GiB` as bytes.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    u64::try_from(parse_quantity(text, &SIZES, SIZE_UNITS)?).map_err(|_| UnitError::TooLarge)
}

/// Writes a number of bytes in the largest unit that leaves no remainder.
pub fn format_size(bytes: u64) -> String {
    if bytes == 0 {
        "0B".to_owned()
    } else {
        format_quantity(bytes.into(), &SIZES)
    }
}

fn parse_quantity(
    text: &str,
    units: &[(&str, u128)],
    names: &'static str,
) -> Result<u128, UnitError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    match (number, unit) {
        ("", _) => return Err(UnitError::NoNumber),
        (_, "") => return Err(UnitError::NoUnit(names)),
        (_, unit) if unit.starts_with('.') => return Err(UnitError::Fraction),
        _ => {}
    }
    let (_, scale) = units
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or(UnitError::UnknownUnit(names))?;
    let number: u64 = number.parse().map_err(|_| UnitError::TooLarge)?;
    Ok(u128::from(number) * scale)
}

fn format_quantity(amount: u128, units: &[(&str, u128)]) -> String {
    let fitting = units
        .iter()
        .find(|(_, scale)| amount.is_multiple_of(*scale));
    fitting
        .map(|(unit, scale)| format!("{}{unit}", amount / scale))
        .unwrap_or_default()
}

/// A share of a whole, `10%` or `0.25%`, in millionths so that it is exact and comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share {
    /// 0 to 1 000 000.
    pub millionths: u32,
}

impl Share {
    /// A whole number of hundredths, at most 100.
    pub const fn percent(hundredths: u32) -> Self {
        Self {
            millionths: hundredths * 10_000,
        }
    }

    /// As a part of one.
    pub fn fraction(self) -> f64 {
        f64::from(self.millionths) / 1e6
    }
}

impl FromStr for Share {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let number = text.strip_suffix('%').ok_or(UnitError::Share)?;
        let (whole, decimals) = number.split_once('.').map_or((number, "0"), |parts| parts);
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 4 || whole.len() > 3 {
            return Err(UnitError::Share);
        }
        let decimals: u32 = format!("{decimals:0<4}")
            .parse()
            .map_err(|_| UnitError::Share)?;
        let whole: u32 = whole.parse().map_err(|_| UnitError::Share)?;
        let millionths = whole * 10_000 + decimals;
        if millionths > 1_000_000 {
            Err(UnitError::Share)
        } else {
            Ok(Self { millionths })
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.millionths / 10_000, self.millionths % 10_000);
        if decimals == 0 {
            return write!(f, "{whole}%");
        }
        let decimals = format!("{decimals:04}");
        write!(f, "{whole}.{}%", decimals.trim_end_matches('0'))
    }
}

/// A number with a point, `1.25`, in thousandths so that it is exact and comparable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal {
    pub thousandths: u32,
}

impl Decimal {
    /// The number, for what is computed with it.
    pub fn value(self) -> f64 {
        f64::from(self.thousandths) / 1e3
    }
}

impl FromStr for Decimal {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (whole, decimals) = text.split_once('.').map_or((text, "0"), |parts| parts);
        let digits =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > 3 {
            return Err(UnitError::Decimal);
        }
        let decimals: u32 = format!("{decimals:0<3}")
            .parse()
            .map_err(|_| UnitError::Decimal)?;
        let whole: u32 = whole.parse().map_err(|_| UnitError::TooLarge)?;
        whole
            .checked_mul(1000)
            .and_then(|thousandths| thousandths.checked_add(decimals))
            .map(|thousandths| Self { thousandths })
            .ok_or(UnitError::TooLarge)
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, decimals) = (self.thousandths / 1000, self.thousandths % 1000);
        if decimals == 0 {
            return write!(f, "{whole}");
        }
        let decimals = format!("{decimals:03}");
        write!(f, "{whole}.{}", decimals.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_strict() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(parse_size("64KiB"), Ok(65_536));
        let slips = [
            "", "s", "10", "1.5s", "-1s", "+1s", "1 s", " 1s", "1s ", "1h30m", "1S", "1sec", "٣s",
        ];
        for text in slips {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        let slips = [
            "64",
            "64k",
            "64KB",
            "64kib",
            "0x10B",
            "99999999999GiB",
            "18446744073709551616B",
        ];
        for text in slips {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn quantities_are_written_in_the_largest_whole_unit() {
        assert_eq!(format_duration(Duration::from_secs(90)), "90s");
        assert_eq!(format_duration(Duration::from_secs(7200)), "2h");
        assert_eq!(format_duration(Duration::ZERO), "0s");
        assert_eq!(format_size(1536), "1536B");
        assert_eq!(format_size(3 << 20), "3MiB");
    }

    #[test]
    fn shares_are_exact() {
        assert_eq!(
            "10%".parse(),
            Ok(Share {
                millionths: 100_000
            })
        );
        assert_eq!("0.0001%".parse(), Ok(Share { millionths: 1 }));
        assert_eq!(Share { millionths: 2_500 }.to_string(), "0.25%");
        for text in ["10", "101%", "-1%", ".5%", "5.%", "0.00001%", "1e1%", "%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!("1.25".parse(), Ok(Decimal { thousandths: 1250 }));
        assert_eq!("2".parse(), Ok(Decimal { thousandths: 2000 }));
        assert_eq!(Decimal { thousandths: 1000 }.to_string(), "1");
        assert_eq!(Decimal { thousandths: 50 }.to_string(), "0.05");
        for text in ["", ".5", "1.", "-1", "+1", "1e3", "1.0005", "1,5", "inf"] {
            assert_eq!(text.parse::<Decimal>(), Err(UnitError::Decimal), "{text}");
        }
        assert_eq!("4294968".parse::<Decimal>(), Err(UnitError::TooLarge));
    }
}
