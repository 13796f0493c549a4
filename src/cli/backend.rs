//! `plimsoll backend`: synthetic servers to put behind a proxy and to play with.

use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::schema::Address;
use crate::config::units::{format_size, parse_size};
use crate::lab::backend::{Backend, Behaviour, Fault, Settings, UnknownFault};
use crate::lab::distribution::{Latency, StatusShare};

/// Run synthetic backends whose latency, failures and misbehaviour are chosen.
///
/// The faults of --fault, of which the signal USR1 switches all off and on again (kill -USR1 PID):
///
///   refuse            nobody listens, and what was connected is cut
///   hang              requests are read and never answered
///   gone, reset       the connection is closed, or reset, instead of an answer
///   reset-after-head  the head of the answer, then a reset
///   reset-mid-body    half of the body, then a reset
///   truncate          half of the body, then the end of the connection
///   trickle:20ms      the body in 16 pieces, this long apart
///   status:503        this status instead of the answer
///   slow:1s           the answer after this time
///   garbage           bytes that are no HTTP
///   huge-head         the answer under a head of 1 MiB
///   close-on-reuse    every request but the first of a connection finds it closed
///   early-answer      the answer before the request's body is read
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
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
    /// A fault from the list above, or `off`. Given several times, once per backend; the last holds for the rest.
    #[arg(long, value_name = "FAULT", default_value = "off", value_parser = fault)]
    pub fault: Vec<Planned>,
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
    let mut switch = signal(SignalKind::user_defined1()).context("cannot listen for USR1")?;
    let mut backends = Vec::new();
    for index in 0..args.count {
        let (address, behaviour) = match planned(args, index) {
            Ok(planned) => planned,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "error: {error:#}");
                return Ok(ExitCode::from(2));
            }
        };
        let settings = Settings {
            address: Address::Tcp(address),
            behaviour: behaviour.clone(),
            tls: None,
            executions: None,
        };
        match Backend::start(settings).await {
            Ok(backend) => backends.push((behaviour, backend)),
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
    let mut is_faulty = true;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
            _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
            _ = switch.recv() => {}
        }
        is_faulty = !is_faulty;
        for (behaviour, backend) in &backends {
            let fault = behaviour.fault.filter(|_| is_faulty);
            let behaviour = Behaviour {
                fault,
                ..behaviour.clone()
            };
            backend.change(behaviour).context("cannot switch a fault")?;
        }
        let state = if is_faulty { "on" } else { "off" };
        let _ = writeln!(std::io::stderr(), "faults {state}");
    }
}

/// One line per backend, address and label, once all of them accept.
fn announce(backends: &[(Behaviour, Backend)]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    for (behaviour, backend) in backends {
        let label = &behaviour.label;
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
    let fault = args
        .fault
        .get(usize::from(index))
        .or_else(|| args.fault.last());
    let behaviour = Behaviour {
        fault: fault.and_then(|fault| fault.0),
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

/// A fault, or none.
#[derive(Debug, Clone, Copy)]
pub struct Planned(Option<Fault>);

fn fault(text: &str) -> Result<Planned, UnknownFault> {
    match text {
        "off" => Ok(Planned(None)),
        _ => text.parse().map(Some).map(Planned),
    }
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
    fn each_backend_may_have_a_fault_of_its_own() {
        let args = args(&["--count", "3", "--fault", "off", "--fault", "slow:2s"]);
        let fault = |index| planned(&args, index).unwrap().1.fault;
        let slow = Some(Fault::Slow(std::time::Duration::from_secs(2)));
        assert_eq!([fault(0), fault(1), fault(2)], [None, slow, slow]);
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
