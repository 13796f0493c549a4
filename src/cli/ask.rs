//! One question to the admin API of a running process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::config_path;
use crate::config::{Address, read};

/// Where the admin API is looked for when nothing else tells: the address in the examples.
pub(super) const DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);
/// Bytes of an answer. The status of ten thousand endpoints has about 10 MiB.
const LARGEST: usize = 256 << 20;

/// The address that is named, else the one in the configuration that `run` takes here, else the default.
pub(super) fn address(named: Option<&Address>) -> Address {
    address_of(named, None)
}

/// The same with the configuration that is named.
pub(super) fn address_of(named: Option<&Address>, config: Option<&Path>) -> Address {
    let written = || {
        let loaded = read::load(&config_path(config), &|name| std::env::var(name).ok());
        // What is wrong with a file says nothing about the process that was started from it.
        let admin = loaded.ok()?.config.admin?;
        Some(reachable(admin.address))
    };
    named
        .cloned()
        .or_else(written)
        .unwrap_or(Address::Tcp(DEFAULT))
}

/// What listens on every address of the host is asked on loopback.
fn reachable(listening: Address) -> Address {
    match listening {
        Address::Tcp(mut address) if address.ip().is_unspecified() => {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
            Address::Tcp(address)
        }
        other => other,
    }
}

/// Asks for a path; fails when there is no whole answer in time.
pub(super) fn ask(
    admin: &Address,
    path: &str,
    timeout: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async { in_time(admin, path, timeout).await })
}

/// Posts to a path, with nothing in the body; fails when there is no whole answer in time.
pub(super) fn post(
    admin: &Address,
    path: &str,
    timeout: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async { sent(admin, Method::POST, path, timeout).await })
}

/// The same as [`ask`] within a runtime.
pub(super) async fn in_time(
    admin: &Address,
    path: &str,
    timeout: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    sent(admin, Method::GET, path, timeout).await
}

async fn sent(
    admin: &Address,
    method: Method,
    path: &str,
    timeout: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let asking = async {
        match admin {
            Address::Tcp(address) => {
                exchange(TcpStream::connect(address).await?, method, path).await
            }
            Address::Unix(file) => exchange(UnixStream::connect(file).await?, method, path).await,
        }
    };
    let answer = tokio::time::timeout(timeout, asking).await;
    answer
        .with_context(|| format!("no answer within {} s", timeout.as_secs_f64()))
        .and_then(|answer| answer)
        .with_context(|| format!("cannot ask the admin API at {admin}"))
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: Method,
    path: &str,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with its sender.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "plimsoll")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
    Ok((status, body.to_bytes()))
}
