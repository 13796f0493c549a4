//! The feeds of all upstreams, and asking those that have no list yet.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::{Answer, Failure, Feed, Listing, Source, dns, file};
use crate::clock::Clock;
use crate::config::units::Target;
use crate::config::{Config, Discovery, Endpoint, Upstream};
use crate::observe::event::Events;

/// Questions under way at once; more wait. Each has a socket or two.
const AT_ONCE: usize = 64;

/// By what a feed is known: its upstream and its source.
pub type Key = (String, Source);

/// Feeds by (upstream, source): State that survives a reload.
#[derive(Debug)]
pub struct Supply {
    /// Guards the map only.
    feeds: Mutex<BTreeMap<Key, Arc<Feed>>>,
    asking: Semaphore,
}

impl Default for Supply {
    fn default() -> Self {
        Self {
            feeds: Mutex::default(),
            asking: Semaphore::new(AT_ONCE),
        }
    }
}

/// With what a source is asked.
#[derive(Clone)]
pub struct Means {
    pub supply: Arc<Supply>,
    pub clock: Clock,
    pub events: Arc<Events>,
}

/// All endpoints as written: those of the configuration, then those of the file.
pub struct Entries {
    pub all: Vec<Endpoint>,
    /// The feed of the file, and which of its lists was read.
    pub file: Option<(Arc<Feed>, u64)>,
}

/// Whom to ask for what this endpoint stands for; `None`: it is what it says.
pub fn source_of(endpoint: &Endpoint) -> Option<Source> {
    match endpoint.target().ok()? {
        Target::Name { host, .. } => Some(Source::Host(host)),
        Target::Srv(name) => Some(Source::Srv(name)),
        Target::Ip(_) | Target::Unix(_) => None,
    }
}

impl Supply {
    /// The feed of this source; one that was not known is made, and knows nothing.
    pub fn feed(&self, upstream: &str, source: Source) -> Arc<Feed> {
        let mut feeds = self.feeds();
        let feed = feeds
            .entry((upstream.to_owned(), source.clone()))
            .or_insert_with(|| Arc::new(Feed::new(upstream, source)));
        Arc::clone(feed)
    }

    /// The endpoints of an upstream as its configuration and its file have them now.
    pub fn entries(&self, upstream: &str, written: &Upstream) -> Entries {
        let mut all = written.endpoints.clone();
        let file = written.endpoints_file.as_ref().map(|path| {
            let feed = self.feed(upstream, Source::File(path.clone()));
            let (revision, list) = feed.current();
            if let Some(Listing::Endpoints(more)) = list.as_deref() {
                all.extend(more.iter().cloned());
            }
            (feed, revision)
        });
        Entries { all, file }
    }

    /// The feeds that an upstream needs as things stand.
    pub fn wanted(&self, upstream: &str, written: &Upstream) -> Vec<Arc<Feed>> {
        let entries = self.entries(upstream, written);
        let sources: HashSet<Source> = entries.all.iter().filter_map(source_of).collect();
        let named = sources.into_iter();
        let named = named.map(|source| self.feed(upstream, source));
        entries
            .file
            .map(|(feed, _)| feed)
            .into_iter()
            .chain(named)
            .collect()
    }

    /// Forgets the feeds that nobody wants or uses.
    pub fn retain(&self, wanted: &HashSet<Key>) {
        self.feeds()
            .retain(|key, feed| wanted.contains(key) || Arc::strong_count(feed) > 1);
    }

    fn feeds(&self) -> MutexGuard<'_, BTreeMap<Key, Arc<Feed>>> {
        self.feeds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Means {
    /// Asks a source, and says whether its list is another one.
    pub async fn ask(&self, feed: &Arc<Feed>, rules: &Discovery) -> bool {
        let answer = match &feed.source {
            Source::File(path) => match file::read(path).await {
                Ok(list) => self.reachable(&feed.upstream, list, rules).await,
                Err(answer) => answer,
            },
            Source::Host(_) | Source::Srv(_) => self.resolve(feed, rules).await,
        };
        self.record(feed, answer, rules)
    }

    /// Takes up what a source said.
    pub fn record(&self, feed: &Feed, answer: Answer, rules: &Discovery) -> bool {
        feed.record(self.clock.now(), answer, rules, &self.events)
    }

    async fn resolve(&self, feed: &Feed, rules: &Discovery) -> Answer {
        let known = feed.current().1;
        let _turn = self.supply.asking.acquire().await;
        dns::ask(&feed.source, known.as_deref(), rules, &self.clock).await
    }

    /// The list of a file as an answer. Names that it is the first to mention are asked for before it counts, so that it does
    /// not take the place of one whose endpoints serve while it has none yet.
    pub async fn reachable(
        &self,
        upstream: &str,
        list: Vec<Endpoint>,
        rules: &Discovery,
    ) -> Answer {
        let mut feeds = Vec::new();
        let mut is_reachable = false;
        for endpoint in &list {
            match source_of(endpoint) {
                Some(source) => feeds.push(self.supply.feed(upstream, source)),
                None => is_reachable = true,
            }
        }
        self.ask_each(feeds.iter().filter(|feed| !feed.has_list()), rules)
            .await;
        if is_reachable || feeds.iter().any(|feed| feed.has_list()) {
            Answer::Complete(Listing::Endpoints(list), None)
        } else {
            Answer::Failed(Failure::Unresolved(list.len()))
        }
    }

    /// Asks names, all at the same time.
    async fn ask_each<'a>(&self, feeds: impl Iterator<Item = &'a Arc<Feed>>, rules: &Discovery) {
        let mut asked = JoinSet::new();
        for feed in feeds {
            let (means, feed, rules) = (self.clone(), Arc::clone(feed), rules.clone());
            asked.spawn(async move {
                let answer = means.resolve(&feed, &rules).await;
                means.record(&feed, answer, &rules);
            });
        }
        while asked.join_next().await.is_some() {}
    }

    /// Asks every source of these upstreams that has no list yet and is not `followed`; takes as long as the slowest, and no
    /// longer than the longest `timeout`, however many there are: who was not heard by then is asked again later.
    async fn ask_missing(&self, upstreams: Vec<(String, Upstream)>, followed: &HashSet<Key>) {
        let timeouts = upstreams
            .iter()
            .map(|(_, written)| written.discovery.timeout);
        let longest = self.clock.real(timeouts.max().unwrap_or_default());
        let mut asked = JoinSet::new();
        for (name, written) in upstreams.clone() {
            let (means, followed) = (self.clone(), followed.clone());
            asked.spawn(async move { means.ask_missing_of(&name, &written, &followed).await });
        }
        let all = async { while asked.join_next().await.is_some() {} };
        if tokio::time::timeout(longest, all).await.is_ok() {
            return;
        }
        drop(asked);
        for (name, written) in &upstreams {
            for feed in self.missing(name, written, followed) {
                if feed.error().is_none() {
                    let failure = Failure::NoAnswer {
                        question: feed.source.to_string(),
                        reason: "no answer in time".to_owned(),
                    };
                    self.record(&feed, Answer::Failed(failure), &written.discovery);
                }
            }
        }
    }

    async fn ask_missing_of(&self, name: &str, written: &Upstream, followed: &HashSet<Key>) {
        let rules = &written.discovery;
        let is_file = |feed: &Arc<Feed>| matches!(feed.source, Source::File(_));
        let missing = self.missing(name, written, followed);
        if let Some(file) = missing.into_iter().find(is_file) {
            self.ask(&file, rules).await;
        }
        // Those that the file names included.
        let mut missing = self.missing(name, written, followed);
        missing.retain(|feed| !is_file(feed));
        self.ask_each(missing.iter(), rules).await;
    }

    /// The feeds of an upstream that have no list, but for those that are followed.
    fn missing(&self, name: &str, written: &Upstream, followed: &HashSet<Key>) -> Vec<Arc<Feed>> {
        let mut wanted = self.supply.wanted(name, written);
        wanted.retain(|feed| !feed.has_list() && !followed.contains(&feed.key()));
        wanted
    }

    /// The same before there is a runtime: on a thread of its own, since the caller may have one.
    pub fn ask_missing_and_wait(
        &self,
        upstreams: Vec<(String, Upstream)>,
        followed: &HashSet<Key>,
    ) -> std::io::Result<()> {
        let upstreams: Vec<_> = upstreams
            .into_iter()
            .filter(|(name, written)| !self.missing(name, written, followed).is_empty())
            .collect();
        if upstreams.is_empty() {
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::scope(|scope| {
            let asking = scope.spawn(|| runtime.block_on(self.ask_missing(upstreams, followed)));
            // Its panic was printed by the panic hook; what was not found out is asked again while the process runs.
            let _ = asking.join();
        });
        runtime.shutdown_background();
        Ok(())
    }
}

/// The upstreams of a configuration, for what asks for those that are missing.
pub fn upstreams(config: &Config) -> Vec<(String, Upstream)> {
    let all = config.upstreams.iter();
    all.map(|(name, written)| (name.clone(), written.clone()))
        .collect()
}
