//! `plimsoll backend`: synthetic servers to put behind a proxy and to play with.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::schema::Address;
use crate::config::units::{format_size, parse_size};
use crate::lab::backend::{Backend, Behaviour, Settings};
use crate::lab::distribution::{Latency, StatusShare};

/// Run synthetic backends whose latency and failures are chosen.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Address of the first backend; the others take the ports after it. Port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9001")]
    pub listen: SocketAddr,
    /// Number of backends.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub count: u16,
    /// Time before each answer: `5ms`, `exp:20ms`, `lognormal:20ms,1.0` (median, sigma), `pareto:1ms,1.5` (minimum,
    /// shape) or `bimodal:1ms@0.99,50ms`. Given several times, once per backend; the last holds for the rest.
    #[arg(long, default_value = "0s")]
    pub latency: Vec<Latency>,
    /// Share of the answers that carry a status instead of 200, `503:1%`; may be repeated.
    #[arg(long, value_name = "STATUS:SHARE")]
    pub status: Vec<StatusShare>,
    /// Size of the body, `1KiB`; by default the body is the label.
    #[arg(long, value_parser = size)]
    pub size: Option<usize>,
    /// Requests that one backend works on at once; the others wait.
    #[arg(long)]
    pub slots: Option<usize>,
    /// Name sent as `X-Backend`; with several backends a number follows it.
    #[arg(long, default_value = "backend")]
    pub label: String,
    /// Makes the drawn latencies and failures repeatable.
    #[arg(long)]
    pub seed: Option<u64>,
}

/// Serves until TERM or INT. Exit code 2 for shares above 1 in sum, 3 when an address cannot be bound.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let share: f64 = args.status.iter().map(|one| one.share).sum();
    // Ten shares of 0.1 add up to a little more than 1 in binary.
    if share > 1.0 + 1e-9 {
        let percent = share * 100.0;
        let _ = writeln!(
            std::io::stderr(),
            "error: the shares of `--status` add up to {percent}%"
        );
        return Ok(ExitCode::from(2));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(args))
}

async fn serve(args: &Args) -> anyhow::Result<ExitCode> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for TERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for INT")?;
    let mut backends = Vec::new();
    for index in 0..args.count {
        let (address, behaviour) = match planned(args, index) {
            Ok(planned) => planned,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "error: {error:#}");
                return Ok(ExitCode::from(2));
            }
        };
        let label = behaviour.label.clone();
        let settings = Settings {
            address: Address::Tcp(address),
            behaviour,
            tls: None,
        };
        match Backend::start(settings).await {
            Ok(backend) => backends.push((label, backend)),
            Err(error) => {
                let _ = writeln!(
                    std::io::stderr(),
                    "error: cannot listen on {address}: {error}"
                );
                return Ok(ExitCode::from(3));
            }
        }
    }
    announce(&backends).context("cannot write the addresses")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(ExitCode::SUCCESS)
}

/// One line per backend, address and label, once all of them accept.
fn announce(backends: &[(String, Backend)]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (label, backend) in backends {
        if let Address::Tcp(address) = backend.address() {
            writeln!(out, "{address}\t{label}")?;
        }
    }
    out.flush()
}

/// What backend `index`, counted from 0, is to be.
fn planned(args: &Args, index: u16) -> anyhow::Result<(SocketAddr, Behaviour)> {
    let mut address = args.listen;
    if address.port() != 0 {
        let port = address.port().checked_add(index);
        address.set_port(port.context("the ports of `--count` backends end above 65535")?);
    }
    let label = match args.count {
        1 => args.label.clone(),
        _ => format!("{}{}", args.label, index + 1),
    };
    let latency = args
        .latency
        .get(usize::from(index))
        .or_else(|| args.latency.last());
    let behaviour = Behaviour {
        latency: latency.copied().unwrap_or(Latency::NONE),
        statuses: args.status.clone(),
        size: args.size,
        slots: args.slots,
        // Equal seeds would make the backends fail in step.
        seed: args.seed.map(|seed| seed.wrapping_add(u64::from(index))),
        ..Behaviour::labelled(label)
    };
    Ok((address, behaviour))
}

/// The largest body that a backend keeps ready.
const LARGEST: usize = 16 << 20;

/// Reads `100B`, `1KiB` or `2MiB`.
fn size(text: &str) -> Result<usize, String> {
    let bytes = parse_size(text).map_err(|error| error.to_string())?;
    let bytes = usize::try_from(bytes)
        .ok()
        .filter(|bytes| *bytes <= LARGEST);
    bytes.ok_or_else(|| format!("at most {}", format_size(LARGEST as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &[&str]) -> Args {
        let line = [&["backend"], line].concat();
        Line::try_parse_from(line).unwrap().args
    }

    #[test]
    fn several_backends_take_consecutive_ports_and_numbered_labels() {
        let args = args(&["--listen", "127.0.0.1:9001", "--count", "3", "--label", "a"]);
        let all: Vec<_> = (0..3).map(|index| planned(&args, index).unwrap()).collect();
        assert_eq!(all[2].0, SocketAddr::from(([127, 0, 0, 1], 9003)));
        assert_eq!((&*all[0].1.label, &*all[2].1.label), ("a1", "a3"));
    }

    #[test]
    fn the_last_latency_holds_for_the_rest() {
        let args = args(&[
            "--count",
            "3",
            "--latency",
            "1ms",
            "--latency",
            "lognormal:20ms,1",
        ]);
        let latency = |index| planned(&args, index).unwrap().1.latency.to_string();
        assert_eq!(
            [latency(0), latency(1), latency(2)],
            ["1ms", "lognormal:20ms,1", "lognormal:20ms,1"]
        );
    }

    #[test]
    fn ports_do_not_wrap_around() {
        let args = args(&["--listen", "127.0.0.1:65535", "--count", "2"]);
        assert!(planned(&args, 0).is_ok());
        assert!(planned(&args, 1).is_err());
    }

    #[test]
    fn sizes_have_units_and_a_bound() {
        assert_eq!(size("1KiB"), Ok(1024));
        assert_eq!(size("7B"), Ok(7));
        assert!(size("17MiB").is_err() && size("1kb").is_err() && size("").is_err());
    }
}
