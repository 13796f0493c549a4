//! Reloading: read, compile, then swap, or change nothing and say why. One reload at a time, off the control thread
//! where it may block.
//!
//! Lists of endpoints that change by themselves are put in force on the same way, between two reloads: the configuration
//! stays, and with it its generation.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::changes::Changes;
use super::control::Say;
use super::doors::Plan;
use super::findings;
use super::fixed::fixed;
use super::following::Following;
use super::notify::{Notify, Said};
use super::origin::{self, Origin};
use super::start::{self, Kept, enroll};
use super::watching::Watching;
use crate::admin::auth::{TokenError, Tokens};
use crate::admin::live::{Cause, Live, Reload};
use crate::config::{Config, Diagnostic, Refusal, read};
use crate::discovery::supply::{self, Means};
use crate::listener::accept::BindError;
use crate::observe::event::Kind;
use crate::snapshot::{CompileError, Snapshot};
use crate::upstream::probe::Prober;
use crate::watch::FromFile;
use crate::worker::Mail;

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The file is wrong; the text is that of `plimsoll check`.
    #[error("{0}")]
    Refused(Refusal),
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// A listener that is new, or has another address, cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The file of the admin API's tokens is of no use.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// These keys are bound to threads, or to where operators connect.
    #[error("these keys cannot change while the process runs: {}; restart it for them", .0.join(", "))]
    Fixed(Vec<String>),
    /// What was written is right, and leads nowhere; what is in force serves.
    #[error(
        "upstreams.{upstream}: it would have no endpoint, and every request be answered with 503: {reasons}"
    )]
    NoEndpoint { upstream: String, reasons: String },
    #[error("the process was started without a file; there is nothing to read again")]
    NoFile,
    #[error("the process is about to end")]
    Ending,
    #[error("the thread that compiled the configuration panicked, which is a bug")]
    Panicked,
}

/// Where the new configuration comes from.
pub(super) enum Source {
    File(Arc<Origin>),
    Given(Box<Config>),
}

/// Characters of a reason that the service manager shows; the whole of it is on standard error.
pub(super) const STATUS: usize = 300;

/// One reload.
pub(super) struct Job {
    pub(super) source: Source,
    pub(super) cause: Cause,
    pub(super) answer: Option<oneshot::Sender<Result<Changes, ReloadError>>>,
}

/// Does one reload after the other.
pub(super) struct Reloader {
    pub(super) live: Arc<Live>,
    /// The file; none when the process was started without.
    pub(super) origin: Option<Arc<Origin>>,
    jobs: mpsc::UnboundedSender<Job>,
    say: Say,
    notify: Arc<Notify>,
}

impl Reloader {
    /// To be called within the runtime that it shall run on. `prober` checks what is in force.
    pub(super) fn start(
        live: Arc<Live>,
        kept: Arc<Kept>,
        mut prober: Prober,
        origin: Option<Arc<Origin>>,
        say: Say,
        notify: &Arc<Notify>,
    ) -> Self {
        let (jobs, mut asked) = mpsc::unbounded_channel();
        let (notify, manager) = (Arc::clone(notify), Arc::clone(notify));
        let (known, telling) = (Arc::clone(&live), Arc::clone(&say));
        let file = origin.clone();
        tokio::spawn(async move {
            let mut following = Following::new(kept.means(known.clock));
            let path = file.as_ref().map(|file| file.path.as_path());
            let mut watching = Watching::new(path, known.clock);
            warn_of_mount(&known, file.as_ref(), &telling);
            let mut useless = BTreeMap::new();
            loop {
                // Whatever happened, a list may have changed meanwhile; and of those in force each is followed.
                relist(&known, &kept, &mut prober, &mut useless).await;
                let current = known.snapshot.load_full();
                following.keep_to(&current.config);
                watching.keep_to(&current.config);
                drop(current);
                tokio::select! {
                    job = asked.recv() => match job {
                        Some(job) => {
                            carry_told(job, &known, &kept, &mut prober, &telling, &manager).await;
                        }
                        None => return,
                    },
                    () = following.changed() => {}
                    () = watching.changed() => {
                        // One that is about to end leaves what is new to its successor.
                        if known.farewell().is_none()
                            && let Some(job) = touched(file.as_ref()).await
                        {
                            carry_told(job, &known, &kept, &mut prober, &telling, &manager).await;
                        }
                    }
                }
            }
        });
        Self {
            live,
            origin,
            jobs,
            say,
            notify,
        }
    }

    pub(super) fn ask(&self, job: Job) {
        // The task that receives lives as long as the runtime.
        let _ = self.jobs.send(job);
    }

    /// What HUP asks for.
    pub(super) fn reread(&self) {
        self.reopen_logs();
        match &self.origin {
            Some(origin) => self.ask(Job {
                source: Source::File(Arc::clone(origin)),
                cause: Cause::Signal,
                answer: None,
            }),
            None => {
                let reason = ReloadError::NoFile.to_string();
                (self.say)(&format!("plimsoll: {reason}"));
                // Whoever waits for the reload waits no longer.
                self.notify.tell(&[Said::reloading()]);
                self.notify.tell(&[Said::Ready, Said::Status(&reason)]);
            }
        }
    }

    /// What USR1 asks for, too: log files that were moved away are written to no longer.
    pub(super) fn reopen_logs(&self) {
        if let Some(log) = &self.live.log
            && let Err(error) = log.reopen()
        {
            (self.say)(&format!(
                "plimsoll: the access log cannot be opened anew, and goes on as it was: {error}"
            ));
        }
    }
}

/// How the last reload went, in a line.
fn outcome(live: &Live) -> String {
    let generation = live.snapshot.load().generation;
    match live.reloads().last {
        Some(last) if !last.applied => {
            let reason: String = last.text.chars().take(STATUS).collect();
            format!("serving generation {generation}; the last reload was refused: {reason}")
        }
        _ => format!("serving generation {generation}"),
    }
}

/// What follows from a touch of the file: nothing while it holds what a reload has found in it already.
async fn touched(origin: Option<&Arc<Origin>>) -> Option<Job> {
    let origin = origin?;
    let looking = Arc::clone(origin);
    let has_changed = tokio::task::spawn_blocking(move || looking.has_changed());
    has_changed.await.is_ok_and(|changed| changed).then(|| Job {
        source: Source::File(Arc::clone(origin)),
        cause: Cause::Watch,
        answer: None,
    })
}

/// Says once when the watch of the file may miss what is done to it.
fn warn_of_mount(live: &Live, origin: Option<&Arc<Origin>>, say: &Say) {
    let watched = live.snapshot.load().config.watch.is_some();
    if let Some(origin) = origin
        && watched
        && origin::is_mounted_alone(&origin.path)
    {
        say(&format!(
            "plimsoll: {} is mounted by itself: what is renamed over it outside is not seen here; write it in place, or \
             mount its folder",
            origin.path.display()
        ));
    }
}

/// How long the workers may take to tell what runs on older configurations.
const COUNTED: Duration = Duration::from_secs(1);

/// Waits until every worker has the snapshot that was sent to it, and has noted what runs on older ones; not for a worker that
/// is stuck.
async fn counted(live: &Live) {
    let (done, mut left) = mpsc::unbounded_channel::<()>();
    for mailbox in live.mailboxes.iter() {
        let _ = mailbox.inbox.send(Mail::Report(done.clone()));
    }
    drop(done);
    let _ = tokio::time::timeout(COUNTED, left.recv()).await;
}

/// Carries a reload, and tells the service manager when it begins and ends.
async fn carry_told(
    job: Job,
    live: &Arc<Live>,
    kept: &Arc<Kept>,
    prober: &mut Prober,
    say: &Say,
    notify: &Notify,
) {
    // A process that is about to end is not ready any more, whatever it is asked for.
    let is_ending = live.farewell().is_some();
    if !is_ending {
        notify.tell(&[Said::reloading()]);
    }
    carry(job, live, kept, prober, say).await;
    // Also of one that was refused: whoever waits for the reload waits no longer.
    if !is_ending {
        notify.tell(&[Said::Ready, Said::Status(&outcome(live))]);
    }
}

async fn carry(job: Job, live: &Arc<Live>, kept: &Arc<Kept>, prober: &mut Prober, say: &Say) {
    let (known, endpoints) = (Arc::clone(live), Arc::clone(kept));
    let (source, cause, begun) = (job.source, job.cause, live.clock.now());
    let prepared = tokio::task::spawn_blocking(move || prepare(source, &known, &endpoints)).await;
    let outcome = match prepared {
        Ok(Ok(_)) if live.is_draining() => Err(ReloadError::Ending),
        Ok(Ok(prepared)) => {
            for warning in &prepared.warnings {
                say(&warning.to_string());
            }
            let mut changes = apply(live, kept, prober, prepared.snapshot);
            open_doors(live, kept, prepared.plan, say);
            live.tokens.store(prepared.tokens);
            if let Some((origin, text)) = prepared.written {
                origin.put_in_force(text);
            }
            counted(live).await;
            changes.older = live.older();
            Ok(changes)
        }
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ReloadError::Panicked),
    };
    let text = match &outcome {
        Ok(changes) => {
            say(&format!("plimsoll: reloaded: {changes}"));
            changes.to_string()
        }
        Err(error) => {
            let generation = live.snapshot.load().generation;
            say(&format!(
                "{error}\nplimsoll: reload refused; generation {generation} stays in force"
            ));
            error.to_string()
        }
    };
    live.record_reload(Reload {
        at: crate::clock::wall(),
        cause,
        took: live.clock.real(live.clock.now().since(begun)),
        applied: outcome.is_ok(),
        text,
    });
    if let Some(answer) = job.answer {
        let _ = answer.send(outcome);
    }
}

/// By upstream, why the list that it has now is of no use.
type Useless = BTreeMap<String, String>;

/// Puts in force what names and files of endpoints say now, where that is another list than the one in force. What was found
/// `useless` the last time is not told again.
async fn relist(live: &Arc<Live>, kept: &Arc<Kept>, prober: &mut Prober, useless: &mut Useless) {
    let current = live.snapshot.load_full();
    if live.is_draining() || !current.upstreams.iter().any(|one| one.is_outdated()) {
        useless.clear();
        return;
    }
    let (state, before) = (Arc::clone(kept), Arc::clone(&current));
    let compiling =
        tokio::task::spawn_blocking(move || before.relisted(&state.endpoints, &state.tls));
    // A panic was printed by the panic hook; what is in force serves.
    let Ok((snapshot, errors)) = compiling.await else {
        return;
    };
    let errors = errors.into_iter();
    let errors: Useless = errors
        .map(|(upstream, error)| (upstream, error.to_string()))
        .collect();
    for (upstream, error) in &errors {
        if useless.get(upstream) == Some(error) {
            continue;
        }
        let text =
            format!("keeps its endpoints, since the list that it has now is of no use: {error}");
        live.events
            .note(live.clock.now(), Kind::Discovery, upstream, None, text);
    }
    *useless = errors;
    let mut both = snapshot.upstreams.iter().zip(&current.upstreams);
    if both.any(|(new, old)| !Arc::ptr_eq(new, old)) {
        apply(live, kept, prober, snapshot);
    }
}

/// A snapshot that can be put in force.
struct Prepared {
    snapshot: Snapshot,
    plan: Plan,
    tokens: Option<Arc<FromFile<Tokens>>>,
    /// The file, with the text that the snapshot was made of.
    written: Option<(Arc<Origin>, String)>,
    warnings: Vec<Diagnostic>,
}

/// Reads, checks, asks for the names that are new, and compiles. Blocks.
fn prepare(source: Source, live: &Live, kept: &Kept) -> Result<Prepared, ReloadError> {
    let (config, mut warnings, places, written) = match source {
        Source::Given(config) => (*config, Vec::new(), None, None),
        Source::File(origin) => {
            let name = origin.path.display().to_string();
            let loaded = read::from_bytes(&name, origin.read(), &|name| std::env::var(name).ok());
            let loaded = loaded.map_err(ReloadError::Refused)?;
            let text = loaded.places.text().to_owned();
            let written = Some((origin, text));
            (loaded.config, loaded.warnings, Some(loaded.places), written)
        }
    };
    let current = live.snapshot.load_full();
    let fixed = fixed(&current.config, &config);
    if !fixed.is_empty() {
        return Err(ReloadError::Fixed(fixed));
    }
    let tokens = start::tokens(&config)?;
    // Whom nobody could be asked for has no endpoints, which is judged below.
    let means = kept.means(live.clock);
    let followed = followed(&means, &current.config, &config);
    let _ = means.ask_missing_and_wait(supply::upstreams(&config), &followed);
    let generation = current.generation + 1;
    let plan = kept.doors.plan(&config)?;
    let compiled = Snapshot::compile(&Arc::new(config), generation, &plan.numbers(), kept.state());
    let mut snapshot = match (compiled, &places) {
        (Err(CompileError::Routes(errors)), Some(places)) => {
            return Err(ReloadError::Refused(findings::refusal(&errors, places)));
        }
        (compiled, _) => compiled?,
    };
    endpoints_left(&current, &snapshot)?;
    snapshot.keep_departed(&current, |listener| kept.doors.has_guests(listener));
    if let Some(places) = places {
        warnings.extend(findings::unreachable(
            &snapshot.config,
            &snapshot.routes,
            &places,
        ));
    }
    Ok(Prepared {
        snapshot,
        plan,
        tokens,
        written,
        warnings,
    })
}

/// The feeds that are asked again and again anyway, in the same way as they would be now: what they have not said so far is not
/// worth waiting for.
fn followed(means: &Means, before: &Config, now: &Config) -> HashSet<supply::Key> {
    let same = before.upstreams.iter().filter(|(name, written)| {
        let now = now.upstreams.get(*name);
        now.is_some_and(|now| now.discovery == written.discovery)
    });
    same.flat_map(|(name, written)| means.supply.wanted(name, written))
        .map(|feed| feed.key())
        .collect()
}

/// Refuses to leave an upstream without any endpoint because its names and files give none; at a start there would be no
/// better choice. One that has none already may stay so: other changes must not wait for it.
fn endpoints_left(current: &Snapshot, new: &Snapshot) -> Result<(), ReloadError> {
    for upstream in new.upstreams.iter().filter(|one| one.endpoints.is_empty()) {
        let written = new.config.upstreams.get(&upstream.name);
        let may_be_empty = written.is_some_and(|written| written.discovery.allow_empty);
        let mut before = current.upstreams.iter();
        let before = before.find(|before| before.name == upstream.name);
        if may_be_empty || before.is_some_and(|before| before.endpoints.is_empty()) {
            continue;
        }
        let reasons = upstream.sources().iter().filter_map(|used| {
            let feed = &used.feed;
            Some(format!("{}: {}", feed.source, feed.error()?))
        });
        return Err(ReloadError::NoEndpoint {
            upstream: upstream.name.clone(),
            reasons: reasons.collect::<Vec<_>>().join("; "),
        });
    }
    Ok(())
}

/// Opens, closes and hands over what the configuration in force asks for, and tells of it.
fn open_doors(live: &Live, kept: &Kept, plan: Plan, say: &Say) {
    let told = kept.doors.adopt(plan, &live.mailboxes);
    let bound = kept.doors.bound(&live.snapshot.load().config);
    live.listeners.store(Arc::new(bound));
    for bound in &told.opened {
        say(&format!("listening on {} ({})", bound.url(), bound.name));
    }
    for (name, open) in &told.gone {
        say(&format!(
            "plimsoll: listener `{name}` accepts nothing more; connections that finish what they do: {open}"
        ));
    }
}

/// Puts a snapshot in force for all workers, and forgets the numbers of what is gone.
fn apply(live: &Live, kept: &Kept, prober: &mut Prober, snapshot: Snapshot) -> Changes {
    let snapshot = Arc::new(snapshot);
    let now = live.clock.now();
    kept.endpoints.put_in_force(snapshot.endpoints(), Some(now));
    enroll(&snapshot, now);
    let changes = Changes::between(&live.snapshot.load(), &snapshot);
    live.snapshot.store(Arc::clone(&snapshot));
    prober.follow(&snapshot.upstreams);
    for mailbox in live.mailboxes.iter() {
        // A worker that has ended is told by its end.
        let _ = mailbox.inbox.send(Mail::Snapshot(Arc::clone(&snapshot)));
    }
    let listeners = snapshot.listeners.iter().chain(&snapshot.departed);
    let listeners: HashSet<&str> = listeners.map(|one| one.name.as_str()).collect();
    live.metrics
        .retain_listeners(|name| listeners.contains(name));
    let routes: HashSet<&str> = snapshot
        .routes
        .routes()
        .iter()
        .map(|route| &*route.name)
        .collect();
    live.metrics.retain_routes(|name| routes.contains(name));
    let upstreams = &snapshot.config.upstreams;
    live.metrics
        .retain_upstreams(|name| upstreams.contains_key(name));
    let endpoints: HashSet<(&str, &str)> = snapshot
        .endpoints()
        .map(|endpoint| (endpoint.upstream.as_str(), endpoint.id.as_str()))
        .collect();
    live.metrics
        .retain_endpoints(|upstream, id| endpoints.contains(&(upstream, id)));
    changes
}
