//! `plimsoll cert show`: what stands in certificates.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::digest;
use serde::Serialize;

use crate::cli::{UNAVAILABLE, print, say};
use crate::tls::{self, Facts, hex};

/// Show what stands in the certificates of files: names, dates, who vouches for them.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Files in PEM.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// For programs: JSON.
    #[arg(long)]
    json: bool,
}

/// One certificate.
#[derive(Debug, Serialize)]
struct Shown {
    file: String,
    subject: String,
    issuer: String,
    names: Vec<String>,
    not_before: String,
    not_after: String,
    /// Seconds since 1970, for arithmetic.
    expires: i64,
    /// Below zero where it has expired.
    days_left: i64,
    authority: bool,
    key: String,
    serial: String,
    sha256: String,
}

/// Shows them in the order of the files.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let now = super::now().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let mut all = Vec::new();
    let mut failed = false;
    for file in &args.files {
        match tls::certificates(file) {
            Ok(chain) => {
                let name = file.display().to_string();
                for der in chain {
                    match shown(&name, &der, now) {
                        Some(shown) => all.push(shown),
                        None => {
                            failed = true;
                            say(&format!("plimsoll: `{name}` holds what is no certificate"));
                        }
                    }
                }
            }
            Err(error) => {
                failed = true;
                say(&format!("plimsoll: {error}"));
            }
        }
    }
    if args.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&all)?))?;
    } else {
        let texts: Vec<String> = all.iter().map(text).collect();
        print(&texts.join("\n"))?;
    }
    Ok(if failed {
        UNAVAILABLE.into()
    } else {
        ExitCode::SUCCESS
    })
}

fn shown(file: &str, der: &[u8], now: i64) -> Option<Shown> {
    let facts = Facts::of(der)?;
    Some(Shown {
        file: file.to_owned(),
        subject: facts.subject.to_string(),
        issuer: facts.issuer.to_string(),
        names: facts.names.iter().map(ToString::to_string).collect(),
        not_before: date(facts.not_before),
        not_after: date(facts.not_after),
        expires: facts.not_after,
        days_left: (facts.not_after - now).div_euclid(86_400),
        authority: facts.is_authority,
        key: facts.key.to_string(),
        serial: facts.serial(),
        sha256: hex(digest::digest(&digest::SHA256, der).as_ref()),
    })
}

fn text(shown: &Shown) -> String {
    let left = match shown.days_left {
        0.. => format!("{} days left", shown.days_left),
        -1 => "expired within the last day".to_owned(),
        gone => format!("expired {} days ago", -gone - 1),
    };
    let names = match shown.names.as_slice() {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let authority = if shown.authority {
        ", an authority"
    } else {
        ""
    };
    format!(
        "{}: {}{authority}\n  names    {names}\n  issuer   {}\n  valid    {} to {} ({left})\n  key      {}\n  \
         serial   {}\n  sha256   {}\n",
        shown.file,
        if shown.subject.is_empty() {
            "(no subject)"
        } else {
            &shown.subject
        },
        shown.issuer,
        shown.not_before,
        shown.not_after,
        shown.key,
        shown.serial,
        shown.sha256,
    )
}

/// A point of time as HTTP writes it; before 1970 as seconds.
fn date(seconds: i64) -> String {
    match u64::try_from(seconds) {
        // What lies behind the year 9999 cannot be written in a certificate.
        Ok(seconds) => httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds)),
        Err(_) => format!("{seconds} s before 1970"),
    }
}
