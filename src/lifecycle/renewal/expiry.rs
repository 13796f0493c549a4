//! Telling of certificates that run out, each once.

use std::collections::HashMap;
use std::path::PathBuf;

use super::site::{Site, Term, date};
use crate::admin::live::Live;
use crate::observe::event::Kind;

/// How it stands with a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Good,
    /// It runs out before its warning says.
    Soon,
    /// Nobody believes it yet.
    Early,
    Over,
}

/// What was told, by the place in the configuration and the file.
#[derive(Default)]
pub(super) struct Told(HashMap<(String, PathBuf), (Stage, i64)>);

/// Events of one look; of more the rest is counted, so that a folder of a thousand fills no log.
const MOST: usize = 8;

impl Told {
    /// Tells of whatever has come to another stage since the last time. `now` is seconds since 1970.
    pub(super) fn tell<'a>(
        &mut self,
        live: &Live,
        sites: impl Iterator<Item = &'a Site>,
        now: i64,
    ) {
        let mut texts = Vec::new();
        let mut known = HashMap::new();
        for site in sites {
            let warning = site.warning().map(|span| span.as_secs());
            let name = site.to_string();
            for term in site.terms() {
                let stage = stage(&term, warning, now);
                let key = (name.clone(), term.file.clone());
                let told = self.0.remove(&key);
                known.insert(key, (stage, term.until));
                if told == Some((stage, term.until)) || stage == Stage::Good {
                    continue;
                }
                texts.push(format!("{name}: {}", sentence(&term, stage, now)));
            }
            for file in site.stale_staples() {
                let key = (name.clone(), file);
                if self.0.remove(&key).is_none() {
                    let file = key.1.display();
                    texts.push(format!(
                        "{name}: `{file}` has run out, and is stapled no more"
                    ));
                }
                known.insert(key, (Stage::Over, 0));
            }
        }
        self.0 = known;
        let more = texts.len().saturating_sub(MOST);
        texts.truncate(MOST);
        if more > 0 {
            texts.push(format!("as do {more} more; /api/v1/status lists them"));
        }
        for text in texts {
            let at = live.clock.now();
            live.events.note_process(at, Kind::Certificate, text);
        }
    }
}

/// How it stands with a certificate of which is warned so many seconds before.
pub(super) fn stage(term: &Term, warning: Option<u64>, now: i64) -> Stage {
    let warned = warning.map_or(i64::MIN, |span| {
        term.until
            .saturating_sub(i64::try_from(span).unwrap_or(i64::MAX))
    });
    if now > term.until {
        Stage::Over
    } else if now < term.from {
        Stage::Early
    } else if warning.is_some() && now >= warned {
        Stage::Soon
    } else {
        Stage::Good
    }
}

/// What is said of it.
pub(super) fn sentence(term: &Term, stage: Stage, now: i64) -> String {
    let file = term.file.display();
    match stage {
        Stage::Good => format!("`{file}` is good until {}", date(term.until)),
        Stage::Soon => {
            let days = (term.until - now) / 86_400;
            let days = match days {
                0 => "within a day".to_owned(),
                1 => "in 1 day".to_owned(),
                days => format!("in {days} days"),
            };
            format!("`{file}` runs out {days}, on {}", date(term.until))
        }
        Stage::Early => format!(
            "`{file}` is not good before {}, and clients refuse it",
            date(term.from)
        ),
        Stage::Over => format!(
            "`{file}` has run out on {}, and clients refuse it",
            date(term.until)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn term() -> Term {
        Term {
            file: "a.pem".into(),
            from: 100 * DAY,
            until: 200 * DAY,
        }
    }

    #[test]
    fn a_certificate_goes_through_its_stages() {
        let weeks = Some(14 * 86_400);
        for (day, expected) in [
            (99, Stage::Early),
            (100, Stage::Good),
            (185, Stage::Good),
            (186, Stage::Soon),
            (200, Stage::Soon),
            (201, Stage::Over),
        ] {
            assert_eq!(stage(&term(), weeks, day * DAY), expected, "{day}");
        }
        assert_eq!(stage(&term(), None, 200 * DAY), Stage::Good);
        assert_eq!(stage(&term(), None, 201 * DAY), Stage::Over);
    }

    #[test]
    fn a_sentence_names_the_file_and_the_day() {
        let told = sentence(&term(), Stage::Soon, 197 * DAY);
        assert_eq!(
            told,
            "`a.pem` runs out in 3 days, on Mon, 20 Jul 1970 00:00:00 GMT"
        );
    }
}
