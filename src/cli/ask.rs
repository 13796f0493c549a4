//! One question to the admin API of a running process, or one command.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
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

/// The variable that holds a token, where the file of them cannot be read.
const TOKEN: &str = "PLIMSOLL_ADMIN_TOKEN";

/// Whom to ask, and what shows that one may.
pub(super) struct Admin {
    pub(super) address: Address,
    token: Option<String>,
    /// Nobody has said that it is there.
    is_guess: bool,
}

impl std::fmt::Display for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)?;
        if self.is_guess {
            f.write_str(", the default, since no `admin` can be read from a configuration here")?;
        }
        Ok(())
    }
}

/// The address that is named, else the one in the configuration that `run` takes here, else the default.
pub(super) fn admin(named: Option<&Address>) -> Admin {
    admin_of(named, None)
}

/// The same with the configuration that is named.
pub(super) fn admin_of(named: Option<&Address>, config: Option<&Path>) -> Admin {
    let written = read::admin(&config_path(config), &|name| std::env::var(name).ok());
    let file = written.as_ref().and_then(|admin| admin.token_file.as_ref());
    let first = |path: &PathBuf| {
        let text = String::from_utf8(read::bytes(path).ok()?).ok()?;
        let mut lines = text.lines().map(str::trim);
        lines.find(|line| !line.is_empty()).map(str::to_owned)
    };
    let address = named.cloned();
    Admin {
        is_guess: address.is_none() && written.is_none(),
        token: std::env::var(TOKEN).ok().or_else(|| file.and_then(first)),
        address: address
            .or_else(|| written.map(|admin| reachable(admin.address)))
            .unwrap_or(Address::Tcp(DEFAULT)),
    }
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
    admin: &Admin,
    path: &str,
    timeout: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    whole(admin, Method::GET, path, timeout)
}

/// Posts a command, and waits until it is done.
pub(super) fn order(
    admin: &Admin,
    path: &str,
    timeout: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    whole(admin, Method::POST, path, timeout)
}

fn whole(
    admin: &Admin,
    method: Method,
    path: &str,
    timeout: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async { sent(admin, method, path, timeout).await })
}

/// Asks within a runtime.
pub(super) async fn in_time(
    admin: &Admin,
    path: &str,
    timeout: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    sent(admin, Method::GET, path, timeout).await
}

async fn sent(
    admin: &Admin,
    method: Method,
    path: &str,
    timeout: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let request = request(admin, method, path)?;
    let asking = async {
        match &admin.address {
            Address::Tcp(address) => exchange(TcpStream::connect(address).await?, request).await,
            Address::Unix(file) => exchange(UnixStream::connect(file).await?, request).await,
        }
    };
    let answer = tokio::time::timeout(timeout, asking).await;
    answer
        .with_context(|| format!("no answer within {} s", timeout.as_secs_f64()))
        .and_then(|answer| answer)
        .and_then(|(status, body)| {
            let wants_token = status == StatusCode::UNAUTHORIZED;
            anyhow::ensure!(
                !wants_token,
                "it wants a token, and another one than it was given: set {TOKEN}, or stand where the configuration and its \
                 `admin.token_file` can be read"
            );
            Ok((status, body))
        })
        .with_context(|| format!("cannot ask the admin API at {admin}"))
}

fn request(admin: &Admin, method: Method, path: &str) -> anyhow::Result<Request<Empty<Bytes>>> {
    let host = match &admin.address {
        Address::Tcp(address) => address.to_string(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, host);
    if let Some(token) = &admin.token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    Ok(request.body(Empty::new())?)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with its sender.
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LARGEST).collect().await;
    let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?;
    Ok((status, body.to_bytes()))
}
