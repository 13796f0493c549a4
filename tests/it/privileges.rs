//! Becoming another user once all is bound. Only root can; for others there is nothing to see here.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{Authority, Backend, Client, DEADLINE, Directory, Process, eventually};

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

/// What a reload reads, with a key as `openssl` leaves it: for root alone.
fn with_key(directory: &Directory, endpoint: &str) -> (String, std::path::PathBuf) {
    let identity = Authority::new().identity(&["localhost"]);
    let (cert, key) = identity.write(directory, "site");
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let log = directory.path().join("access.log");
    let yaml = format!(
        "listeners:\n  web:\n    address: \"127.0.0.1:0\"\n    \
         tls: {{ certificates: [ {{ cert: {cert:?}, key: {key:?} }} ] }}\n\
         routes: [ {{ upstream: pool }} ]\n\
         upstreams: {{ pool: {{ endpoints: [\"{endpoint}\"] }} }}\n\
         access_log: {{ path: {log:?} }}\nuser: nobody\n"
    );
    let file = directory.write("p.yaml", yaml);
    (file.display().to_string(), key)
}

#[tokio::test]
async fn a_key_for_root_alone_is_told_of_before_it_is_wanted_again() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: nothing is tried");
        return;
    }
    let (backend, directory) = (Backend::start("a"), Directory::new());
    let (file, key) = with_key(&directory, &backend.endpoint());
    let mut check = Process::start(&["check", &file]);
    assert_eq!(check.wait(), Some(0), "{}", check.stderr());
    let told = check.stdout();
    assert!(told.contains("listeners.web.tls.certificates[0]"), "{told}");
    assert!(
        told.contains("`nobody`, whom the process becomes, may not read"),
        "{told}"
    );
    let mut process = Process::start(&["run", "-c", &file]);
    let line = process.wait_for_line("user: `nobody` may not read");
    assert!(line.contains("site"), "{line}");
    assert!(
        line.contains("listeners.web.tls.certificates[0].key"),
        "{line}"
    );
    assert!(!line.contains("p.yaml"), "{line}");
    // What was told comes true.
    process.signal(Signal::HUP);
    process.wait_for_line("reload refused");
    process.signal(Signal::TERM);
    process.wait();
    // With what it says to do, nothing is told, and a reload goes through.
    chown(&key, None, Some(65534)).unwrap();
    std::fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    let mut check = Process::start(&["check", &file]);
    assert_eq!(check.wait(), Some(0));
    assert!(
        !check.stdout().contains("may not read"),
        "{}",
        check.stdout()
    );
    let mut process = Process::start(&["run", "-c", &file]);
    process.wait_for_line("listening on");
    process.signal(Signal::HUP);
    process.wait_for_line("generation 2 is in force");
    process.signal(Signal::TERM);
    process.wait();
    let told = process.stderr();
    assert!(!told.contains("may not"), "{told}");
}

#[tokio::test]
async fn the_access_log_is_given_to_the_user_who_opens_it_anew() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: nothing is tried");
        return;
    }
    let (backend, directory) = (Backend::start("a"), Directory::new());
    // One of root's is there already.
    let log = directory.write("access.log", "");
    let file = file(&directory, &backend.endpoint(), "user: nobody");
    let mut process = Process::start(&["run", "-c", &file]);
    let line = process.wait_for_line("listening on");
    let address = line.split("http://").nth(1).unwrap();
    let address = address.split(' ').next().unwrap().parse().unwrap();
    let owner = log.metadata().unwrap();
    assert_eq!((owner.uid(), owner.gid()), (65534, 65534));
    // As logrotate does it: another file with the same owner.
    std::fs::rename(&log, directory.path().join("access.log.1")).unwrap();
    directory.write("access.log", "");
    chown(&log, Some(65534), Some(65534)).unwrap();
    process.signal(Signal::USR1);
    let mut client = Client::h1(address).await;
    eventually(DEADLINE, || {
        log.metadata().is_ok_and(|log| log.uid() == 65534)
    })
    .await;
    let told = || process.stderr();
    within_lines(&mut client, &log).await;
    assert!(!told().contains("cannot be opened anew"), "{}", told());
    process.signal(Signal::TERM);
    process.wait();
    // One with a second name stays whose it is: it may be anybody's.
    let precious = directory.write("precious", "");
    std::fs::remove_file(&log).unwrap();
    std::fs::hard_link(&precious, &log).unwrap();
    let process = Process::start(&["run", "-c", &file]);
    process.wait_for_line("listening on");
    process.wait_for_line("user: `nobody` may not write to the access log");
    assert_eq!(precious.metadata().unwrap().uid(), 0);
}

/// Asks until a line stands in the log, which is opened anew a moment after the signal.
async fn within_lines(client: &mut Client, log: &std::path::Path) {
    let begun = std::cell::Cell::new(0);
    while log.metadata().unwrap().len() == 0 {
        assert_eq!(client.get("/").await.backend(), Some("a"));
        begun.set(begun.get() + 1);
        assert!(begun.get() < 100_000, "the log was not opened anew");
    }
}
