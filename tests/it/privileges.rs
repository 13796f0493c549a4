//! Becoming another user once all is bound. Only root can; for others there is nothing to see here.

use std::process::Command;

use crate::harness::{Backend, Client, Directory, Process};

/// The four identities in `/proc/PID/task/TID/status`, of every thread.
fn identities(process: &Process, key: &str) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let texts = tasks.map(|task| {
        // A thread may end meanwhile.
        std::fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default()
    });
    let lines = texts.filter_map(|text| {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(key).map(str::to_owned))?;
        Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    lines.collect()
}

fn file(directory: &Directory, endpoint: &str, more: &str) -> String {
    let log = directory.path().join("access.log");
    let yaml = format!(
        "listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ upstream: pool }} ]\n\
         upstreams: {{ pool: {{ endpoints: [\"{endpoint}\"] }} }}\n\
         access_log: {{ path: {log:?} }}\n{more}\n"
    );
    directory.write("p.yaml", yaml).display().to_string()
}

#[tokio::test]
async fn every_thread_is_the_user_and_requests_are_served() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: nothing is tried");
        return;
    }
    let (backend, directory) = (Backend::start("a"), Directory::new());
    for (more, uid, gid, groups) in [
        ("user: nobody", "65534", "65534", None),
        (
            "user: \"4711\"\ngroup: \"4712\"",
            "4711",
            "4712",
            Some("4712"),
        ),
    ] {
        let file = file(&directory, &backend.endpoint(), more);
        let process = Process::start(&["run", "-c", &file]);
        let line = process.wait_for_line("listening on");
        let address = line.split("http://").nth(1).unwrap();
        let address = address.split(' ').next().unwrap().parse().unwrap();
        let mut client = Client::h1(address).await;
        assert_eq!(client.get("/").await.backend(), Some("a"));
        let (uids, gids) = (identities(&process, "Uid:"), identities(&process, "Gid:"));
        assert!(uids.len() > 2, "{uids:?}");
        let all = |id: &str| [id; 4].join(" ");
        assert!(
            uids.iter().all(|line| *line == all(uid)),
            "{more}: {uids:?}"
        );
        assert!(
            gids.iter().all(|line| *line == all(gid)),
            "{more}: {gids:?}"
        );
        for line in identities(&process, "Groups:") {
            let expected = groups.unwrap_or(gid);
            assert_eq!(line, expected, "{more}");
        }
        for line in identities(&process, "CapEff:") {
            assert_eq!(line.trim_start_matches('0'), "", "{more}");
        }
    }
}

#[test]
fn an_unknown_user_starts_nothing() {
    let directory = Directory::new();
    let file = file(&directory, "127.0.0.1:1", "user: nobody-knows-me");
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    let output = command.args(["run", "-c", &file]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("there is no user `nobody-knows-me`"),
        "{text}"
    );
}
