//! Files of users and of keys that change under the running process.

use plimsoll::clock::Clock;

use super::*;
use crate::harness::{Client, DEADLINE, FAST, eventually};

const PASSWORD: &str = "basic: { users_file: USERS }";
const KEY: &str = "api_key: { keys_file: KEYS, query: key }";

impl Entrance {
    /// Waits until a GET with these lines is answered so.
    async fn answers(&self, lines: &str, status: u16) {
        let polling = async {
            while self.status(lines).await != status {
                tokio::task::yield_now().await;
            }
        };
        let answered = tokio::time::timeout(DEADLINE, polling).await;
        assert!(
            answered.is_ok(),
            "{lines:?} is not answered with {status}:\n{}",
            self.events()
        );
    }

    fn events(&self) -> String {
        let (events, _) = self.proxy.live().events.after(0);
        let lines = events.iter().map(|event| format!("{event}\n"));
        lines.collect()
    }

    /// Changes that were put in force, and those that could not be.
    fn swaps(&self) -> (u64, u64) {
        let [(_, applied), (_, refused)] = self.proxy.live().credentials.read();
        (applied, refused)
    }
}

#[tokio::test]
async fn users_come_and_go_with_their_file() {
    let door = Entrance::with(PASSWORD).await;
    let (ops, new) = (basic("ops", "s3cret:x"), basic("new", "n"));
    assert_eq!(door.status(&ops).await, 200);
    assert_eq!(door.status(&new).await, 401);
    // In place; a password that was right before is not remembered against the file.
    door.files.write("users", user("new", "n"));
    door.answers(&new, 200).await;
    assert_eq!(door.status(&ops).await, 401);
    // Renamed over it.
    let next = door.files.write("next", user("ops", "s3cret:x"));
    std::fs::rename(next, door.files.path().join("users")).unwrap();
    door.answers(&ops, 200).await;
    assert_eq!(door.status(&new).await, 401);
    // Another comment is no other list.
    eventually(DEADLINE, || door.swaps() == (2, 0)).await;
    door.files.write(
        "users",
        "# the same\n".to_owned() + &user("ops", "s3cret:x"),
    );
    door.files.write("users", user("last", "l"));
    door.answers(&basic("last", "l"), 200).await;
    eventually(DEADLINE, || door.swaps() == (3, 0)).await;
    let told = door.events();
    assert!(
        told.contains("credentials: the users of `")
            && told.contains("are those that it holds now"),
        "{told}"
    );
    // The configuration is the same.
    assert_eq!(door.proxy.live().snapshot.load().generation, 1);
}

#[tokio::test]
async fn keys_come_and_go_with_their_file() {
    let door = Entrance::with(KEY).await;
    let query = async |key: &str| {
        let mut client = door.connect().await;
        client.send(get(&format!("/headers?key={key}"), "")).await;
        client.response().await.status()
    };
    assert_eq!((query("k-1").await, query("k-3").await), (200, 401));
    door.files.write("keys", key_line("partner", b"k-3"));
    eventually(DEADLINE, || door.swaps() == (1, 0)).await;
    assert_eq!((query("k-1").await, query("k-3").await), (401, 200));
}

#[tokio::test]
async fn a_file_of_no_use_keeps_the_old_users_and_says_so_once() {
    // Half a file is given five seconds to become a whole one.
    let door = Entrance::on(Clock::scaled(FAST), PASSWORD).await;
    let ops = basic("ops", "s3cret:x");
    door.files.write("users", "ops:a-secret\n");
    eventually(DEADLINE, || door.swaps() == (0, 1)).await;
    assert_eq!(door.status(&ops).await, 200);
    let told = door.events();
    let said = "stay as they were: `";
    assert_eq!(told.matches(said).count(), 1, "{told}");
    assert!(
        told.contains("users`, line 1") && !told.contains("a-secret"),
        "{told}"
    );
    let admin = door.proxy.admin();
    let status = Client::h1(admin).await.get("/api/v1/status").await.json();
    let credentials = &status["credentials"][0];
    assert_eq!(credentials["what"], "users", "{status}");
    let trouble = credentials["trouble"].as_str().unwrap();
    assert!(trouble.contains("line 1"), "{trouble}");
    let metrics = Client::h1(admin).await.get("/metrics").await;
    let series = "plimsoll_credential_swaps_total{result=\"refused\"} 1\n";
    assert!(metrics.text().contains(series), "{}", metrics.text());
    // Gone altogether is no other list either; another reason is told again.
    std::fs::remove_file(door.files.path().join("users")).unwrap();
    eventually(DEADLINE, || door.swaps() == (0, 2)).await;
    assert_eq!(door.status(&ops).await, 200);
    // It is put right, and that counts.
    door.files.write("users", user("new", "n"));
    door.answers(&basic("new", "n"), 200).await;
    eventually(DEADLINE, || door.swaps() == (1, 2)).await;
    let status = Client::h1(admin).await.get("/api/v1/status").await.json();
    assert!(status["credentials"][0]["trouble"].is_null(), "{status}");
}
