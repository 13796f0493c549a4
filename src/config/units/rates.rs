//! How rates are written: `100/s`, `30/m`, `1000/h`.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::UnitError;

/// So many in a period. Equal are those that are as fast, however they are written.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    pub count: u64,
    pub per: Per,
}

/// The period of a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    Second,
    Minute,
    Hour,
}

impl Per {
    const ALL: [Self; 3] = [Self::Second, Self::Minute, Self::Hour];

    const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }

    const fn letter(self) -> &'static str {
        match self {
            Self::Second => "s",
            Self::Minute => "m",
            Self::Hour => "h",
        }
    }
}

impl Rate {
    /// So many in a second.
    pub const fn per_second(count: u64) -> Self {
        let per = Per::Second;
        Self { count, per }
    }

    /// So many in an hour.
    pub const fn per_hour(count: u64) -> Self {
        let per = Per::Hour;
        Self { count, per }
    }

    /// The time in which `count` come.
    pub const fn period(self) -> Duration {
        Duration::from_secs(self.per.seconds())
    }

    /// As many as come in a second, at least one.
    pub const fn in_a_second(self) -> u64 {
        let whole = self.count / self.per.seconds();
        if whole == 0 { 1 } else { whole }
    }

    /// In an hour.
    fn hourly(self) -> u128 {
        u128::from(self.count) * u128::from(3600 / self.per.seconds())
    }
}

impl PartialEq for Rate {
    fn eq(&self, other: &Self) -> bool {
        self.hourly() == other.hourly()
    }
}

impl Eq for Rate {}

impl PartialOrd for Rate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Rate {
    fn cmp(&self, other: &Self) -> Ordering {
        self.hourly().cmp(&other.hourly())
    }
}

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (count, unit) = text.split_once('/').ok_or(UnitError::Rate)?;
        let known = Per::ALL.into_iter().find(|per| per.letter() == unit);
        let per = known.ok_or(UnitError::Rate)?;
        if count.is_empty() || !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(UnitError::Rate);
        }
        let count = count.parse().map_err(|_| UnitError::TooLarge)?;
        Ok(Self { count, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, self.per.letter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_strict_and_read_back() {
        for text in ["100/s", "30/m", "1000/h", "0/s", "18446744073709551615/s"] {
            assert_eq!(
                text.parse::<Rate>().map(|rate| rate.to_string()).as_deref(),
                Ok(text)
            );
        }
        for text in [
            "", "100", "/s", "100/", "100/sec", "1.5/s", "-1/s", "+1/s", "1 /s", "100r/s", "1/d",
            "1//s",
        ] {
            assert_eq!(text.parse::<Rate>(), Err(UnitError::Rate), "{text}");
        }
        assert_eq!(
            "18446744073709551616/s".parse::<Rate>(),
            Err(UnitError::TooLarge)
        );
    }

    #[test]
    fn rates_compare_by_their_speed() {
        let rate = |text: &str| text.parse::<Rate>().unwrap();
        assert_eq!(rate("60/m"), rate("1/s"));
        assert!(rate("59/m") < rate("1/s") && rate("3601/h") > rate("1/s"));
        assert_eq!(
            [rate("90/s"), rate("90/m"), rate("7/h")].map(Rate::in_a_second),
            [90, 1, 1]
        );
    }
}
