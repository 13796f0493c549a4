//! What it costs to have many certificates: the choice by name, which must not grow with them, and their memory.
//!
//! `cargo bench --bench certificates` prints, for each number of certificates, how long reading them takes, what each takes of
//! memory, and how long one choice does.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench that cannot go on has failed, and prints what it found"
)]

use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{Criterion, criterion_group, criterion_main};
use plimsoll::clock::Clock;
use plimsoll::config::{Certificate, ServerTls};
use plimsoll::listener::server_tls;
use plimsoll::tls::Shared;
use rcgen::{CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::SignatureScheme;

const COUNTS: [usize; 4] = [10, 100, 1_000, 10_000];

/// A folder of files, gone with the value.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Writes so many pairs, each for a name of its own and a wildcard.
fn write(folder: &Path, count: usize) -> Vec<Certificate> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let each = (0..count).map(|number| {
        let names = [
            format!("site-{number}.test"),
            format!("*.site-{number}.test"),
        ];
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let signed = params.signed_by(&key, &authority).unwrap();
        let file = |ending: &str| folder.join(format!("{number}.{ending}"));
        std::fs::write(file("pem"), signed.pem()).unwrap();
        std::fs::write(file("key"), key.serialize_pem()).unwrap();
        Certificate {
            cert: file("pem"),
            key: file("key"),
            ocsp: None,
        }
    });
    each.collect()
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    kilobytes.unwrap().parse::<usize>().unwrap() * 1024
}

fn choices(criterion: &mut Criterion) {
    let shared = Shared::new().unwrap();
    let schemes = [SignatureScheme::ECDSA_NISTP256_SHA256];
    for count in COUNTS {
        let path = std::env::temp_dir().join(format!("plimsoll-bench-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let folder = Folder(path);
        let written = ServerTls::new(write(&folder.0, count));
        let before = resident();
        let clock = Clock::system();
        let start = clock.now();
        let tls = server_tls::ServerTls::compile(&written, &shared).unwrap();
        let took = clock.now().since(start);
        let each = resident().saturating_sub(before) / count;
        println!("{count} certificates: read in {took:?}, {each} bytes of memory each");
        let in_force = tls.now();
        let names: Vec<String> = (0..64)
            .flat_map(|step| {
                let number = step * count / 64;
                [
                    format!("site-{number}.test"),
                    format!("www.site-{number}.test"),
                    format!("unknown-{number}.test"),
                ]
            })
            .collect();
        let mut at = 0;
        criterion.bench_function(&format!("choose/{count}"), |bencher| {
            bencher.iter(|| {
                at = (at + 1) % names.len();
                let name = Some(names[at].as_str());
                black_box(in_force.choose(black_box(name), &schemes))
            });
        });
    }
}

criterion_group!(benches, choices);
criterion_main!(benches);
