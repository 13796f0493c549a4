//! `plimsoll demo`: a proxy in front of synthetic backends that it starts itself, already under a little load.

use std::fs::{self, DirBuilder};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;

use super::cert::make::{Authority, Request, Span};
use super::{UNAVAILABLE, demo_report, say, serve};
use crate::clock;
use crate::config::{
    Action, Address, Admin, Balance, Certificate, Config, Endpoint, Listener, Route, ServerTls,
    Upstream,
};
use crate::entropy::Random;
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
    /// Serve over TLS as well, here, with a certificate for `localhost` of an authority that is made for it and gone with it.
    #[arg(long, value_name = "ADDRESS", num_args = 0..=1, default_missing_value = "127.0.0.1:8443")]
    pub tls: Option<SocketAddr>,
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
    let ancestry = serve::Ancestry::find()?;
    let length = args.seconds.map(Duration::try_from_secs_f64).transpose();
    let length = length.context("`--seconds` is not a time")?;
    let backends = match backends() {
        Ok(backends) => backends,
        Err(error) => {
            say(&format!("plimsoll: cannot start the backends: {error}"));
            return Ok(UNAVAILABLE.into());
        }
    };
    let mut config = config(args, &backends);
    // Gone when this ends.
    let certificates = args
        .tls
        .map(|address| Certificates::make(&mut config, address));
    let certificates = certificates.transpose()?;
    if let Some(certificates) = &certificates {
        say(&certificates.told());
    }
    serve::serve(config, None, ancestry, |running| {
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

/// The files of an authority and of a certificate for this machine, gone with the value.
struct Certificates {
    folder: PathBuf,
    address: SocketAddr,
}

impl Certificates {
    /// Makes them, and has a listener of its own serve with them.
    fn make(config: &mut Config, address: SocketAddr) -> anyhow::Result<Self> {
        let number = Random::from_system().next_u64();
        let this = Self {
            folder: std::env::temp_dir().join(format!("plimsoll-demo-{number:016x}")),
            address,
        };
        // Of its owner alone, since keys go there.
        let mut builder = DirBuilder::new();
        builder.mode(0o700).create(&this.folder)?;
        let now = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        let span = Span::days(now, 30);
        let authority = Authority::new(None, false, span)?;
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let (cert, key) = authority.issue(&Request {
            names: &names,
            rsa: false,
            client: false,
            span,
        })?;
        let write = |name: &str, text: &str| -> anyhow::Result<PathBuf> {
            let file = this.folder.join(name);
            fs::write(&file, text)?;
            Ok(file)
        };
        write("ca.pem", &authority.pem().0)?;
        let certificate = Certificate {
            cert: write("localhost.pem", &cert)?,
            key: write("localhost.key", &key)?,
            ocsp: None,
        };
        let listener = Listener {
            tls: Some(ServerTls::new(vec![certificate])),
            ..Listener::new(Address::Tcp(address))
        };
        config.listeners.insert("demo-tls".to_owned(), listener);
        Ok(this)
    }

    fn told(&self) -> String {
        let ca = self.folder.join("ca.pem");
        format!(
            "over TLS: curl --cacert {} https://localhost:{}/",
            ca.display(),
            self.address.port()
        )
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        // Whoever empties the folder for temporary files finds what is left.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn balance(name: &str) -> Result<Balance, String> {
    let known = Balance::NAMES.join(", ");
    Balance::named(name).ok_or_else(|| format!("known: {known}"))
}
