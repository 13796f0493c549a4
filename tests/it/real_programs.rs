//! Programs that others wrote, on both sides of the proxy: curl and h2load as clients, nginx as an endpoint.
//!
//! `.ci/run` installs them. A test that does not find its program fails: one that is skipped guards nothing.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use crate::harness::{
    Authority, Backend, Client, Directory, Process, Proxy, config, pattern, within,
};

/// Where a program is. Debian keeps servers where only root looks for programs.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let mut found = places
        .map(|place| place.join(name))
        .filter(|file| file.is_file());
    found.next().unwrap_or_else(|| {
        panic!("{name} is not installed; `.ci/run` lists the Debian packages that tests need")
    })
}

/// Runs a program to its end; what it wrote to standard output.
async fn run(name: &str, arguments: &[&str]) -> String {
    let mut command = Command::new(program(name));
    command.args(arguments);
    let running = tokio::task::spawn_blocking(move || {
        let mut process = Process::spawn(command);
        let code = process.wait();
        assert_eq!(code, Some(0), "{}{}", process.stdout(), process.stderr());
        process.stdout()
    });
    within(running).await.unwrap()
}

/// Asks with curl, whatever the environment says of proxies and defaults; the body, and the version of HTTP spoken.
async fn curl(arguments: &[&str]) -> (Vec<u8>, String) {
    let directory = Directory::new();
    let body = directory.path().join("body");
    let fixed = [
        "--disable",
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--write-out",
        "%{http_version}\n",
        "--output",
        body.to_str().unwrap(),
    ];
    let version = run("curl", &[&fixed, arguments].concat()).await;
    let body = std::fs::read(&body).unwrap_or_default();
    (body, version.trim_end().to_owned())
}

#[tokio::test]
async fn curl_speaks_each_version_in_clear_text_and_over_tls() {
    let (authority, directory) = (Authority::new(), Directory::new());
    let ca = authority.write(&directory, "ca.pem");
    let (cert, key) = authority
        .identity(&["localhost"])
        .write(&directory, "proxy");
    let sent = directory.write("sent", pattern(200_000));
    let upload = format!("@{}", sent.display());
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let yaml = format!(
            "workers: 1\n\
             listeners:\n\
             \x20 plain: {{ address: \"127.0.0.1:0\" }}\n\
             \x20 secure: {{ address: \"127.0.0.1:0\", tls: {{ certificates: [ {{ cert: {cert:?}, key: {key:?} }} ] }} }}\n\
             routes: [ {{ match: {{ path: / }}, upstream: pool }} ]\n\
             upstreams: {{ pool: {{ endpoints: [{:?}], protocol: {protocol} }} }}\n",
            backend.endpoint()
        );
        let proxy = Proxy::start(&yaml).await;
        let port = proxy.listener("secure").port();
        let plain = format!("http://{}", proxy.listener("plain"));
        let secure = format!("https://localhost:{port}");
        let resolve = format!("localhost:{port}:127.0.0.1");
        let trusting = ["--cacert", ca.to_str().unwrap(), "--resolve", &resolve];
        let cases: [(&[&str], &str, &str); 4] = [
            (&["--http1.1"], &plain, "1.1"),
            (&["--http2-prior-knowledge"], &plain, "2"),
            (&["--http1.1"], &secure, "1.1"),
            (&["--http2"], &secure, "2"),
        ];
        for (options, base, version) in cases {
            let what = format!("{options:?} {base} to {protocol}");
            let options = [options, &trusting].concat();
            let ask = async |more: &[&str], path: &str| {
                let url = format!("{base}{path}");
                let (body, spoken) = curl(&[&options[..], more, &[&url]].concat()).await;
                assert_eq!(spoken, version, "{what}");
                body
            };
            assert!(
                ask(&[], "/bytes/300000").await == pattern(300_000),
                "{what}"
            );
            let chunked = ask(&[], "/chunked/300000/7000").await;
            assert!(chunked == pattern(300_000), "{what}");
            let told = ask(&["--data-binary", &upload], "/checksum").await;
            let told: Value = serde_json::from_slice(&told).unwrap();
            assert_eq!(told["length"], 200_000, "{what}");
            let checksum = format!("{:016x}", xxh3_64(&pattern(200_000)));
            assert_eq!(told["xxh3"], checksum, "{what}");
            // Without an answer within a second curl sends the body unasked; the endpoint's 100 comes before.
            let expecting = ["--header", "Expect: 100-continue", "--data", "hello"];
            let told = ask(&expecting, "/expect").await;
            let told: Value = serde_json::from_slice(&told).unwrap();
            assert_eq!(told["length"], 5, "{what}");
        }
    }
}

#[tokio::test]
async fn h2load_finds_every_stream_answered() {
    for protocol in ["h1", "h2"] {
        let backend = Backend::start("a");
        let upstream = format!("protocol: {protocol}");
        let proxy = Proxy::start(&config(&[backend.endpoint()], "", "", &upstream)).await;
        let url = format!("http://{}/bytes/5000", proxy.address());
        let arguments = ["-n", "2000", "-c", "8", "-m", "32", &url];
        let told = run("h2load", &arguments).await;
        let whole = "2000 succeeded, 0 failed, 0 errored, 0 timeout";
        assert!(told.contains(whole), "{told}");
        assert_eq!(backend.counters().requests(), 2000);
    }
}

/// nginx with one process on a Unix socket, with all that it writes in `directory`.
fn nginx(directory: &Directory) -> (Process, String) {
    let own = directory.path().display();
    let socket = directory.path().join("nginx.sock");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path \"{own}/{name}\";\n"))
        .concat();
    let configuration = format!(
        "daemon off; master_process off; pid \"{own}/pid\"; error_log stderr;\n\
         events {{}}\n\
         http {{\n\
         access_log off; {temporary}\
         server {{\n\
         listen \"unix:{}\";\n\
         location / {{ root \"{own}\"; }}\n\
         location /count {{ default_type text/plain; return 200 \"$connection $connection_requests\"; }}\n\
         }}\n\
         }}\n",
        socket.display()
    );
    let file = directory.write("nginx.conf", configuration);
    let mut command = Command::new(program("nginx"));
    command.arg("-e").arg("stderr").arg("-c").arg(file);
    let mut process = Process::spawn(command);
    process.wait_until(|| UnixStream::connect(&socket).is_ok());
    (process, format!("unix:{}", socket.display()))
}

#[tokio::test]
async fn nginx_as_an_endpoint_is_asked_over_connections_that_are_used_again() {
    let directory = Directory::new();
    directory.write("file", pattern(500_000));
    let (_nginx, endpoint) = nginx(&directory);
    let proxy = Proxy::start(&config(&[endpoint], "", "", "")).await;
    for mut client in [
        Client::h1(proxy.address()).await,
        Client::h2(proxy.address()).await,
    ] {
        let mut counted = Vec::new();
        for _ in 0..10 {
            let answer = client.get("/count").await;
            let (connection, requests) = answer.text().split_once(' ').unwrap();
            counted.push((connection.to_owned(), requests.parse::<u32>().unwrap()));
            let file = client.get("/file").await;
            assert!(file.body == pattern(500_000));
            assert_eq!(client.get("/missing").await.status.as_u16(), 404);
        }
        for pair in counted.windows(2) {
            // On the same connection, and two requests came in between.
            assert_eq!(pair[1], (pair[0].0.clone(), pair[0].1 + 3), "{counted:?}");
        }
    }
}
