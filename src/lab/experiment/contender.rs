//! The policies that are compared, under the names by which they are asked for (pure).

use crate::config::units::Decimal;
use crate::config::{Balance, ConsistentHash, HashAlgorithm, HashKey};

/// The algorithms, as in YAML.
const ALGORITHMS: [(&str, HashAlgorithm); 3] = [
    ("ring", HashAlgorithm::Ring),
    ("maglev", HashAlgorithm::Maglev),
    ("rendezvous", HashAlgorithm::Rendezvous),
];
/// The bound where there is one: what `on` means.
const BOUND: Decimal = Decimal { thousandths: 1250 };

/// What share of the requests the slow endpoint must get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// The same as every other: the policy does not look at endpoints.
    Equal,
    /// Less than the others: the policy looks at what each has in flight.
    Less,
    /// What its keys bring: the policy looks at nothing else.
    ByKey,
}

/// A policy that is compared.
#[derive(Debug, Clone)]
pub struct Contender {
    /// As in YAML; with a colon before the algorithm and the bound of a hash.
    pub name: String,
    pub balance: Balance,
    pub expected: Expected,
}

impl Contender {
    /// Every one.
    pub fn all() -> Vec<Self> {
        let plain = [
            ("round_robin", Expected::Equal),
            ("random", Expected::Equal),
            ("least_connections", Expected::Less),
            ("p2c", Expected::Less),
            ("peak_ewma", Expected::Less),
            ("prequal", Expected::Less),
        ];
        let plain = plain.into_iter().filter_map(|(name, expected)| {
            Some(Self {
                name: name.to_owned(),
                balance: Balance::named(name)?,
                expected,
            })
        });
        let hashes = ALGORITHMS.into_iter().flat_map(|(name, algorithm)| {
            [None, Some(BOUND)].map(|bound| Self::hash(name, algorithm, bound))
        });
        plain.chain(hashes).collect()
    }

    fn hash(name: &str, algorithm: HashAlgorithm, bounded_load: Option<Decimal>) -> Self {
        let bound = bounded_load.map_or_else(String::new, |bound| format!(":{bound}"));
        Self {
            name: format!("consistent_hash:{name}{bound}"),
            balance: Balance::ConsistentHash(ConsistentHash {
                key: HashKey::Header(super::users::FIELD.to_owned()),
                algorithm,
                bounded_load,
                ..ConsistentHash::default()
            }),
            expected: match bounded_load {
                Some(_) => Expected::Less,
                None => Expected::ByKey,
            },
        }
    }

    /// Those of this name: `all`, one exactly, or all whose name goes on behind a colon. Empty when there is none.
    pub fn named(name: &str) -> Vec<Self> {
        let all = Self::all();
        if name == "all" {
            return all;
        }
        let exact = all.iter().find(|one| one.name == name);
        match exact {
            Some(one) => vec![one.clone()],
            None => {
                let goes_on = |one: &Self| {
                    let rest = one.name.strip_prefix(name);
                    rest.is_some_and(|rest| rest.starts_with(':'))
                };
                all.into_iter().filter(goes_on).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str) -> Vec<String> {
        let named = Contender::named(name).into_iter();
        named.map(|one| one.name).collect()
    }

    #[test]
    fn every_policy_of_the_configuration_takes_part() {
        let all = Contender::all();
        for name in Balance::NAMES {
            let same = |one: &Contender| {
                Some(one.balance.name()) == Balance::named(name).map(|one| one.name())
            };
            assert!(all.iter().any(same), "{name}");
        }
        assert_eq!((all.len(), names("all").len()), (12, 12));
    }

    #[test]
    fn a_name_means_one_or_all_below_it() {
        assert_eq!(names("p2c"), ["p2c"]);
        assert_eq!(names("consistent_hash:ring"), ["consistent_hash:ring"]);
        assert_eq!(
            names("consistent_hash:maglev:1.25"),
            ["consistent_hash:maglev:1.25"]
        );
        assert_eq!(names("consistent_hash").len(), 6);
        for unknown in ["consistent", "", "p2", "ring"] {
            assert_eq!(names(unknown), [""; 0], "{unknown}");
        }
    }
}
