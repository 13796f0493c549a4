//! The routes of a configuration, compiled for lookup.

use std::collections::HashMap;

use super::error::{CompileError, Fault, Faults};
use super::fault::Injection;
use super::fields::{FieldEdits, HostRewrite};
use super::host::with_normal;
use super::index::{Candidate, Draft, Index, NONE};
use super::matcher::Matcher;
use super::name::default_name;
use super::redirect::{Redirect, Respond};
use super::rewrite::Rewrite;
use super::split::Split;
use super::{Action, Request, Route};
use crate::config;

/// All routes, in order; immutable.
#[derive(Debug)]
pub struct Table {
    routes: Box<[Route]>,
    /// Of the routes at the same places; apart, so that a lookup touches only what it tests.
    pub(super) matchers: Box<[Matcher]>,
    pub(super) index: Index,
    /// Whether the routes at the same places ask something of their clients; empty where none does.
    guarded: Box<[bool]>,
}

impl Table {
    /// Resolves names to their places in `listeners` and `upstreams`, and reports all faults at once.
    pub fn compile(
        routes: &[config::Route],
        listeners: &[String],
        upstreams: &[String],
    ) -> Result<Self, Vec<CompileError>> {
        let names = Names::of(upstreams);
        let (mut errors, mut compiled, mut matchers) = (Vec::new(), Vec::new(), Vec::new());
        let mut taken = HashMap::new();
        for (index, written) in routes.iter().enumerate() {
            let mut faults = Faults::of(index, &mut errors);
            if index >= NONE as usize {
                faults.add("", Fault::TooMany(NONE as usize));
                break;
            }
            let name = written
                .name
                .clone()
                .unwrap_or_else(|| default_name(&written.matcher));
            let first = *taken.entry(name.clone()).or_insert(index);
            if first != index {
                let name = name.clone();
                faults.add("name", Fault::DuplicateName { name, first });
            }
            let matcher = Matcher::compile(&written.matcher, listeners, &mut faults);
            let route = compile_route(index, name, written, matcher.as_ref(), &names, &mut faults);
            compiled.extend(route);
            matchers.extend(matcher);
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self {
            index: index_of(&matchers),
            guarded: guarded(routes),
            routes: compiled.into(),
            matchers: matchers.into(),
        })
    }

    /// The first route from top to bottom that matches; does not allocate.
    pub fn find(&self, request: &Request<'_>) -> Option<&Route> {
        let rest =
            |candidate: Candidate| self.matchers[candidate.route as usize].rest_holds(request);
        let look = |host: &[u8]| self.index.first(host, request.path, NONE, rest);
        let found = if self.index.asks_host() {
            with_normal(request.host, look)
        } else {
            look(b"")
        };
        self.routes.get(found? as usize)
    }

    /// Whether any route asks something of its clients: who they are, where they are, or how much they want.
    pub fn guards(&self) -> bool {
        !self.guarded.is_empty()
    }

    /// Whether the route at this place does.
    pub fn is_guarded(&self, index: usize) -> bool {
        self.guarded.get(index).is_some_and(|guarded| *guarded)
    }

    /// All routes from top to bottom.
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }
}

fn guarded(routes: &[config::Route]) -> Box<[bool]> {
    let all: Box<[bool]> = routes.iter().map(config::Route::is_guarded).collect();
    if all.contains(&true) {
        all
    } else {
        Box::default()
    }
}

fn index_of(matchers: &[Matcher]) -> Index {
    let mut draft = Draft::default();
    for (route, matcher) in (0..).zip(matchers) {
        let sure = matcher.is_host_and_path();
        for host in &matcher.hosts {
            draft.add(host, &matcher.path, Candidate { route, sure });
        }
    }
    draft.finish()
}

/// Upstreams by name.
struct Names<'a>(HashMap<&'a str, usize>);

impl<'a> Names<'a> {
    fn of(names: &'a [String]) -> Self {
        Self(
            names
                .iter()
                .enumerate()
                .map(|(index, name)| (&**name, index))
                .collect(),
        )
    }

    fn index(&self, name: &str) -> Result<usize, Fault> {
        let index = self.0.get(name).copied();
        index.ok_or_else(|| Fault::UnknownUpstream(name.to_owned()))
    }
}

/// `None` when a fault was noted, here or in the `matcher`.
fn compile_route(
    index: usize,
    name: String,
    written: &config::Route,
    matcher: Option<&Matcher>,
    names: &Names<'_>,
    faults: &mut Faults<'_>,
) -> Option<Route> {
    let action = compile_action(&written.action, names, faults);
    // Without a matched path there is nothing to judge the rewrite by.
    let rewrite = written
        .rewrite
        .as_ref()
        .zip(matcher)
        .map(|(rewrite, matcher)| faults.keep("rewrite", Rewrite::compile(rewrite, &matcher.path)));
    let host = written
        .host
        .as_ref()
        .map(|host| faults.keep("host", HostRewrite::compile(host)));
    let fault = written
        .fault
        .as_ref()
        .map(|written| Injection::compile(written, faults));
    let request_edits = FieldEdits::compile(&written.request_fields, "request_headers", faults);
    let response_edits = FieldEdits::compile(&written.response_fields, "response_headers", faults);
    Some(Route {
        index,
        name: name.into(),
        action: action?,
        rewrite: given(rewrite)?,
        host: given(host)?,
        subset: written.subset.as_deref().map(Into::into),
        priority: written.priority,
        priority_header: written.priority_header.as_deref().map(Into::into),
        request_edits: request_edits?,
        response_edits: response_edits?,
        fault: given(fault)?,
    })
}

/// Tells a part that is not written (`Some(None)`) from one that is faulty (`None`).
fn given<T>(part: Option<Option<T>>) -> Option<Option<T>> {
    part.map_or(Some(None), |compiled| compiled.map(Some))
}

fn compile_action(
    written: &config::Action,
    names: &Names<'_>,
    faults: &mut Faults<'_>,
) -> Option<Action> {
    let (key, result) = match written {
        config::Action::Upstream(name) => {
            return faults
                .keep("upstream", names.index(name))
                .map(Action::Upstream);
        }
        config::Action::Split(weights) => {
            let split = Split::compile(weights, |name| names.index(name));
            let keyed = |found: Vec<Fault>| found.into_iter().map(|fault| ("", fault)).collect();
            ("split", split.map(Action::Split).map_err(keyed))
        }
        config::Action::Redirect(written) => {
            ("redirect", Redirect::compile(written).map(Action::Redirect))
        }
        config::Action::Respond(written) => {
            ("respond", Respond::compile(written).map(Action::Respond))
        }
    };
    let found: Vec<(&str, Fault)> = match result {
        Ok(action) => return Some(action),
        Err(found) => found,
    };
    for (part, fault) in found {
        let dot = if part.is_empty() { "" } else { "." };
        faults.add(&format!("{key}{dot}{part}"), fault);
    }
    None
}
