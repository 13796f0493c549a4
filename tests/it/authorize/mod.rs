//! Who may enter a route: by password, by key, by the word of a service; and what the endpoint is told of it.

mod credentials;
mod files;
mod service;

use plimsoll::clock::Clock;
use plimsoll::limit::auth::{key_line, password::Hash};
use serde_json::Value;

use crate::harness::{Backend, Directory, Proxy, Raw};

/// Cheap, so that a test does not wait; what takes time is tested where it is measured.
const ITERATIONS: u32 = 1000;

/// A line of a users file.
fn user(name: &str, password: &str) -> String {
    let hash = Hash::make(password.as_bytes(), b"saltsaltsalt", ITERATIONS).unwrap();
    format!("{name}:{hash}\n")
}

/// A proxy before one backend, with these keys of the route `/`, and the files that they may name.
struct Entrance {
    proxy: Proxy,
    backend: Backend,
    files: Directory,
}

impl Entrance {
    /// `auth` may name the files `USERS` (ops, with `s3cret:x`) and `KEYS` (partner, with `k-1` and `k-2`).
    async fn with(auth: &str) -> Self {
        Self::between(auth, "", "").await
    }

    /// With more keys of the listener, and upstreams.
    async fn between(auth: &str, listener: &str, upstreams: &str) -> Self {
        Self::among(Clock::system(), auth, listener, upstreams).await
    }

    /// On a clock of its own.
    async fn on(clock: Clock, auth: &str) -> Self {
        Self::among(clock, auth, "", "").await
    }

    async fn among(clock: Clock, auth: &str, listener: &str, upstreams: &str) -> Self {
        let files = Directory::new();
        files.write("users", user("ops", "s3cret:x") + &user("dev", ""));
        files.write(
            "keys",
            ["k-1", "k-2"]
                .map(|key| key_line("partner", key.as_bytes()))
                .join("\n"),
        );
        let backend = Backend::start("a");
        let yaml = yaml(&files, &backend.endpoint(), auth, listener, upstreams);
        let proxy = Proxy::start_on(clock, &yaml).await;
        Self {
            proxy,
            backend,
            files,
        }
    }

    async fn connect(&self) -> Raw {
        Raw::connect(self.proxy.address()).await
    }

    /// The status of a GET with these lines in its head.
    async fn status(&self, lines: &str) -> u16 {
        let mut client = self.connect().await;
        client.send(get("/headers", lines)).await;
        client.response().await.status()
    }

    /// What the endpoint was told in a GET with these lines in its head, which lets it in.
    async fn told(&self, lines: &str) -> Value {
        self.connect().await.ask(&get("/headers", lines)).await
    }

    /// How many requests fared so at the gate of the route.
    fn judged(&self, verdict: &str) -> u64 {
        let snapshot = self.proxy.live().snapshot.load_full();
        let gates = snapshot.gates.iter().flatten();
        let counts = gates.flat_map(|gate| gate.counts.all());
        let counts = counts.filter(|(known, _)| known.label() == verdict);
        counts.map(|(_, count)| count).sum()
    }
}

fn yaml(files: &Directory, endpoint: &str, auth: &str, listener: &str, upstreams: &str) -> String {
    let file = |name: &str| format!("{:?}", files.path().join(name).display().to_string());
    let auth = auth
        .replace("USERS", &file("users"))
        .replace("KEYS", &file("keys"));
    format!(
        "workers: 1\n\
         listeners: {{ web: {{ address: \"127.0.0.1:0\"{listener} }} }}\n\
         routes:\n\
         - {{ match: {{ path: /open }}, upstream: pool, rewrite: {{ prefix: /headers }} }}\n\
         - {{ match: {{ path: / }}, upstream: pool, auth: {{ {auth} }} }}\n\
         upstreams:\n  pool: {{ endpoints: [{endpoint:?}] }}\n{upstreams}\
         admin: {{ address: \"127.0.0.1:0\" }}\n"
    )
}

fn get(target: &str, lines: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

/// `Authorization` of a user.
fn basic(user: &str, password: &str) -> String {
    let pair = format!("{user}:{password}");
    format!("Authorization: Basic {}\r\n", base64(pair.as_bytes()))
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let bits = [0, 1, 2].map(|place| u32::from(*three.get(place).unwrap_or(&0)));
        let bits = bits[0] << 16 | bits[1] << 8 | bits[2];
        for place in 0..4 {
            let letter = char::from(LETTERS[(bits >> (18 - 6 * place) & 63) as usize]);
            text.push(if place <= three.len() { letter } else { '=' });
        }
    }
    text
}
