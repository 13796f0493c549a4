//! `/api/v1/decisions`: the latest picks of each upstream that were written down, with their grounds.
//!
//! A reader that comes again says which it has seen by the sequence of the last one, since every upstream counts its own:
//! `after=api:17&after=web:3`, or `after=17` for all. With `watch=1` more picks than the configured sample are written down
//! for the next seconds, so that somebody sees them who comes again in time. `limit=` is for more of them, or fewer, than 64.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::live::Live;
use crate::observe::decision::DecisionRecord;

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latest {
    pub upstreams: Vec<UpstreamDecisions>,
}

/// Those of one upstream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpstreamDecisions {
    pub name: String,
    /// The sequence of the last one that was written down; 0: none was since the process began.
    pub last: u64,
    /// The oldest first.
    pub decisions: Vec<DecisionRecord>,
}

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// This upstream only.
    upstream: Option<String>,
    /// Those above this sequence, unless its upstream has one of its own.
    after: u64,
    after_of: HashMap<String, u64>,
    /// At most so many of each upstream, the latest.
    limit: Option<usize>,
    watch: bool,
}

/// Where no limit is asked for: a record of many endpoints has some ten kilobytes.
const LIMIT: usize = 64;

impl Query {
    /// Reads the query of a URL. Names of upstreams need no escapes, so none are read.
    pub fn of(text: &str) -> Result<Self, String> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "upstream" => query.upstream = Some(value.to_owned()),
                "after" => match value.rsplit_once(':') {
                    None => query.after = sequence(value)?,
                    Some((upstream, after)) => {
                        query.after_of.insert(upstream.to_owned(), sequence(after)?);
                    }
                },
                "limit" => {
                    let limit = value.parse();
                    query.limit = Some(limit.map_err(|_| format!("`limit={value}` is no number"))?);
                }
                "watch" => query.watch = matches!(value, "1" | "true"),
                _ => {
                    return Err(format!(
                        "`{name}` is not known here; known: `upstream`, `after`, `limit`, `watch`"
                    ));
                }
            }
        }
        Ok(query)
    }

    fn after(&self, upstream: &str) -> u64 {
        self.after_of.get(upstream).copied().unwrap_or(self.after)
    }
}

fn sequence(text: &str) -> Result<u64, String> {
    let number = text.parse();
    number.map_err(|_| format!("`after={text}` is no sequence; write `after=17` or `after=api:17`"))
}

/// What was written down; nothing of an upstream that there is not, which may come with a reload.
pub fn read(live: &Live, query: &Query) -> Latest {
    let now = live.clock.now();
    let snapshot = live.snapshot.load();
    let asked = snapshot.upstreams.iter().filter(|upstream| {
        let only = query.upstream.as_ref();
        only.is_none_or(|only| *only == upstream.name)
    });
    let upstreams = asked.map(|upstream| {
        let kept = upstream.decisions.latest(0, query.watch, now);
        let after = query.after(&upstream.name);
        let newer = kept.iter().filter(|record| record.sequence > after);
        let surplus = newer
            .clone()
            .count()
            .saturating_sub(query.limit.unwrap_or(LIMIT));
        let newer = newer.skip(surplus);
        UpstreamDecisions {
            name: upstream.name.clone(),
            last: kept.last().map_or(0, |record| record.sequence),
            decisions: newer.map(|record| (**record).clone()).collect(),
        }
    });
    Latest {
        upstreams: upstreams.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_says_what_it_has_seen_of_each_upstream() {
        let query = Query::of("after=3&after=api:17&watch=1&").unwrap();
        assert_eq!((query.after("api"), query.after("web")), (17, 3));
        assert!(query.watch && query.upstream.is_none());
        let query = Query::of("upstream=api&watch=0").unwrap();
        assert_eq!(query.upstream.as_deref(), Some("api"));
        assert_eq!((query.after("api"), query.watch), (0, false));
        assert_eq!(Query::of(""), Ok(Query::default()));
    }

    #[test]
    fn what_is_not_known_is_refused() {
        assert!(Query::of("uptream=api").unwrap_err().contains("`upstream`"));
        for text in ["after=", "after=x", "after=api:", "after=-1"] {
            assert!(Query::of(text).is_err(), "{text}");
        }
    }
}
