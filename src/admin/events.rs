//! `/api/v1/events`: what changed by itself of late, with the reason of each.

use serde::{Deserialize, Serialize};

use super::live::Live;
use crate::observe::event::{Event, Kind};

/// The whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Latest {
    /// The sequence of the last event of all; to be given as `after` the next time.
    pub last: u64,
    /// The oldest first.
    pub events: Vec<EventRecord>,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventRecord {
    pub sequence: u64,
    /// Seconds since 1970, UTC.
    pub at: f64,
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub upstream: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    pub text: String,
}

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// This upstream only.
    upstream: Option<String>,
    /// Those above this sequence.
    after: u64,
}

impl Query {
    /// Reads the query of a URL. Names of upstreams need no escapes, so none are read.
    pub fn of(text: &str) -> Result<Self, String> {
        let mut query = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "upstream" => query.upstream = Some(value.to_owned()),
                "after" => {
                    let number = value.parse();
                    query.after = number
                        .map_err(|_| format!("`after={value}` is no sequence; write `after=17`"))?;
                }
                _ => {
                    return Err(format!(
                        "`{name}` is not known here; known: `upstream`, `after`"
                    ));
                }
            }
        }
        Ok(query)
    }
}

/// What was noted.
pub fn read(live: &Live, query: &Query) -> Latest {
    let (events, last) = live.events.after(query.after);
    let now = live.clock.now();
    let wall = crate::clock::wall().duration_since(std::time::UNIX_EPOCH);
    let wall = wall.unwrap_or_default().as_secs_f64();
    let asked = events.into_iter().filter(|event| {
        let only = query.upstream.as_ref();
        only.is_none_or(|only| *only == event.upstream)
    });
    let record = |event: Event| EventRecord {
        sequence: event.sequence,
        at: wall - live.clock.real(now.since(event.at)).as_secs_f64(),
        kind: event.kind,
        upstream: event.upstream,
        endpoint: event.endpoint,
        route: event.route,
        text: event.text,
    };
    Latest {
        last,
        events: asked.map(record).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::Query;

    #[test]
    fn what_is_not_known_is_refused() {
        let query = Query::of("upstream=api&after=7").unwrap();
        assert_eq!((query.upstream.as_deref(), query.after), (Some("api"), 7));
        assert!(Query::of("upstrem=api").unwrap_err().contains("`after`"));
        assert!(Query::of("after=x").is_err());
    }
}
