//! `plimsoll demo`: a proxy in front of synthetic backends that it starts itself, already under a little load.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

use super::{UNAVAILABLE, demo_report, say, serve};
use crate::config::{Action, Address, Admin, Balance, Config, Endpoint, Listener, Route, Upstream};
use crate::lab::backend::{Behaviour, Group, Settings};
use crate::lab::distribution::Latency;

/// Show a proxy at work: four synthetic backends, one of them slower, already under a little load.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the proxy listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where its admin API listens.
    #[arg(long, value_name = "ADDRESS", default_value_t = super::ask::DEFAULT)]
    pub admin: SocketAddr,
    /// Requests per second, whatever the answers do.
    #[arg(long, default_value_t = 200.0)]
    pub rate: f64,
    /// End by itself after so many seconds.
    #[arg(long)]
    pub seconds: Option<f64>,
    /// The policy that picks an endpoint.
    #[arg(long, value_name = "POLICY", value_parser = balance, default_value = "p2c")]
    pub balance: Balance,
}

/// What the demo calls its only upstream.
pub(super) const UPSTREAM: &str = "demo";

/// Label and service time of each backend.
const BACKENDS: [(&str, &str); 4] = [
    ("amber", "lognormal:4ms,0.4"),
    ("birch", "lognormal:4ms,0.4"),
    ("cedar", "lognormal:5ms,0.4"),
    ("slow", "lognormal:40ms,0.6"),
];

/// Serves until TERM, INT, or the end of the time given.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let length = args.seconds.map(Duration::try_from_secs_f64).transpose();
    let length = length.context("`--seconds` is not a time")?;
    let backends = match backends() {
        Ok(backends) => backends,
        Err(error) => {
            say(&format!("plimsoll: cannot start the backends: {error}"));
            return Ok(UNAVAILABLE.into());
        }
    };
    let config = config(args, &backends);
    serve::serve(config, None, |running| {
        let load = demo_report::Plan {
            rate: args.rate,
            length,
        };
        let company = demo_report::begin(running, load)?;
        Ok((backends, company))
    })
}

fn backends() -> anyhow::Result<Group> {
    let each = BACKENDS.iter().map(|(label, latency)| {
        let latency: Latency = latency
            .parse()
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        Ok(Settings::local(Behaviour {
            latency,
            ..Behaviour::labelled(*label)
        }))
    });
    Ok(Group::start(each.collect::<anyhow::Result<_>>()?)?)
}

fn config(args: &Args, backends: &Group) -> Config {
    let endpoints = backends.backends().iter().zip(BACKENDS);
    let endpoints = endpoints.map(|(backend, (label, _))| Endpoint {
        id: Some(label.to_owned()),
        ..Endpoint::new(backend.address().to_string())
    });
    let upstream = Upstream {
        balance: args.balance.clone(),
        ..Upstream::new(endpoints.collect())
    };
    let route = Route {
        name: Some("all".to_owned()),
        action: Action::Upstream(UPSTREAM.to_owned()),
        ..Route::default()
    };
    Config {
        listeners: [("demo".to_owned(), Listener::new(Address::Tcp(args.listen)))].into(),
        routes: vec![route],
        upstreams: [(UPSTREAM.to_owned(), upstream)].into(),
        admin: Some(Admin::new(Address::Tcp(args.admin))),
        drain_timeout: Duration::from_secs(5),
        ..Config::default()
    }
}

fn balance(name: &str) -> Result<Balance, String> {
    let known = Balance::NAMES.join(", ");
    Balance::named(name).ok_or_else(|| format!("known: {known}"))
}
