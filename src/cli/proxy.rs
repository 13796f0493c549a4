//! `plimsoll proxy`: the proxy without a file.

use std::process::ExitCode;

use super::{USAGE, print, say, serve};
use crate::config::{Address, Admin, direct, reference};

/// Run the proxy in front of these endpoints, without a file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where clients connect: an IP address and a port, or `unix:/path`.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: String,
    /// An endpoint, `host:port` or `unix:/path`; once for each.
    #[arg(long, value_name = "ENDPOINT", value_delimiter = ',')]
    pub to: Vec<String>,
    /// The policy that picks an endpoint.
    #[arg(long, value_name = "POLICY")]
    pub balance: Option<String>,
    /// Where operators look: `/metrics`, `/api/v1/status`. By default nowhere.
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<Address>,
    /// Print the configuration that this amounts to, and end: a file to start from.
    #[arg(long)]
    pub print_config: bool,
}

/// Serves until TERM or INT.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut config = match direct::proxy(&args.listen, &args.to, args.balance.as_deref()) {
        Ok(config) => config,
        Err(refusal) => {
            say(&refusal.to_string());
            return Ok(USAGE.into());
        }
    };
    config.admin = args.admin.clone().map(Admin::new);
    if args.print_config {
        print(&reference::to_yaml(&config))?;
        return Ok(ExitCode::SUCCESS);
    }
    serve::serve(config, None, serve::Ancestry::find()?, |_| Ok(()))
}
