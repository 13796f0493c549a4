//! The configuration file is put in force when it changes, however it is changed.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use plimsoll::admin::Status;

use crate::harness::{Client, Directory, Process, Program, within};

fn yaml(seconds: u32) -> String {
    watched(seconds, "{ poll: 1h }")
}

fn watched(seconds: u32, watch: &str) -> String {
    format!(
        "listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ respond: {{ status: 204 }} }} ]\n\
         admin: {{ address: \"127.0.0.1:0\" }}\n\
         watch: {watch}\ndrain_timeout: {seconds}s\n"
    )
}

async fn status(program: &Program) -> Status {
    let answer = Client::h1(program.admin())
        .await
        .get("/api/v1/status")
        .await;
    serde_json::from_slice(&answer.body).unwrap()
}

/// Waits for this generation, which the watch must have brought about.
async fn expect(program: &Program, generation: u64) {
    let seen = within(async {
        loop {
            let seen = status(program).await;
            // It is in force a moment before it is told how that went.
            if seen.config.generation >= generation && seen.config.applied + 1 >= generation {
                return seen;
            }
        }
    })
    .await;
    let last = seen.config.last_reload.unwrap();
    assert_eq!(
        (seen.config.generation, last.by.as_str()),
        (generation, "watch")
    );
}

#[tokio::test]
async fn however_editors_write_a_file_it_is_put_in_force() {
    let program = Program::start(&yaml(1));
    let (file, aside) = (&program.file, program.directory.path().join("aside"));
    // In place.
    std::fs::write(file, yaml(2)).unwrap();
    expect(&program, 2).await;
    // By renaming another over it.
    std::fs::write(&aside, yaml(3)).unwrap();
    std::fs::rename(&aside, file).unwrap();
    expect(&program, 3).await;
    // By keeping the old one as a backup, as vim does.
    std::fs::rename(file, &aside).unwrap();
    std::fs::write(file, yaml(4)).unwrap();
    expect(&program, 4).await;
    // In pieces: what is there in part is not looked at, or refused and soon replaced.
    let text = yaml(5);
    let (first, second) = text.split_at(text.len() / 2);
    let mut writing = std::fs::File::create(file).unwrap();
    std::io::Write::write_all(&mut writing, first.as_bytes()).unwrap();
    std::io::Write::write_all(&mut writing, second.as_bytes()).unwrap();
    drop(writing);
    expect(&program, 5).await;
    // What is there in part may have been looked at, and refused.
    let refused = status(&program).await.config.refused;
    // Removed: what is in force stays, and another one is taken up.
    std::fs::remove_file(file).unwrap();
    program.process.wait_for_line("cannot be read");
    assert_eq!(status(&program).await.config.generation, 5);
    std::fs::write(file, yaml(6)).unwrap();
    expect(&program, 6).await;
    assert_eq!(status(&program).await.config.refused, refused + 1);
}

/// `name` leads to `target` from now on, as one step.
fn lead(directory: &Path, name: &str, target: &str) {
    let aside = directory.join("link");
    symlink(target, &aside).unwrap();
    std::fs::rename(aside, directory.join(name)).unwrap();
}

/// A folder as Kubernetes mounts it: the file is a link into `..data`, which is a link to the folder in force.
fn mounted() -> (Directory, PathBuf) {
    let directory = Directory::new();
    for (folder, seconds) in [("..1", 1), ("..2", 2)] {
        std::fs::create_dir(directory.path().join(folder)).unwrap();
        directory.write(&format!("{folder}/plimsoll.yaml"), yaml(seconds));
    }
    lead(directory.path(), "..data", "..1");
    lead(directory.path(), "plimsoll.yaml", "..data/plimsoll.yaml");
    let file = directory.path().join("plimsoll.yaml");
    (directory, file)
}

#[tokio::test]
async fn a_link_that_is_swapped_is_followed() {
    let (directory, file) = mounted();
    let program = Program::run(directory, file);
    lead(program.directory.path(), "..data", "..2");
    expect(&program, 2).await;
    std::fs::write(program.directory.path().join("..2/plimsoll.yaml"), yaml(3)).unwrap();
    expect(&program, 3).await;
}

#[tokio::test]
async fn what_is_not_seen_is_found_by_looking() {
    let directory = Directory::new();
    let polled = |seconds| watched(seconds, "{ poll: 100ms }");
    // The link in the middle stands in a folder of its own, which nobody watches.
    for folder in ["middle", "first", "second"] {
        std::fs::create_dir(directory.path().join(folder)).unwrap();
    }
    directory.write("first/plimsoll.yaml", polled(1));
    directory.write("second/plimsoll.yaml", polled(2));
    let middle = directory.path().join("middle");
    lead(&middle, "plimsoll.yaml", "../first/plimsoll.yaml");
    lead(directory.path(), "plimsoll.yaml", "middle/plimsoll.yaml");
    let file = directory.path().join("plimsoll.yaml");
    let program = Program::run(directory, file);
    lead(&middle, "plimsoll.yaml", "../second/plimsoll.yaml");
    expect(&program, 2).await;
}

#[tokio::test]
async fn the_same_contents_change_nothing_and_what_is_wrong_is_told_once() {
    let program = Program::start(&yaml(1));
    // As one step, so that nothing is there in part.
    let put = |text: &str| {
        let aside = program.directory.write("aside", text);
        std::fs::rename(aside, &program.file).unwrap();
    };
    put(&yaml(1));
    let broken = yaml(1).replace("204", "nothing");
    put(&broken);
    program.process.wait_for_line("reload refused");
    put(&broken);
    put(&yaml(2));
    expect(&program, 2).await;
    let seen = status(&program).await.config;
    assert_eq!((seen.applied, seen.refused), (1, 1));
    let stderr = program.process.stderr();
    assert_eq!(stderr.matches("reload refused").count(), 1, "{stderr}");
}

#[tokio::test]
async fn a_file_that_is_not_watched_is_put_in_force_when_asked_for() {
    let program = Program::start(&watched(1, "off"));
    std::fs::write(&program.file, yaml(2)).unwrap();
    let (code, ..) = program.ask(&["reload"]);
    assert_eq!(code, Some(0));
    let seen = status(&program).await.config;
    assert_eq!(
        (seen.generation, seen.last_reload.unwrap().by.as_str()),
        (2, "api")
    );
    // From here on it is watched.
    std::fs::write(&program.file, yaml(3)).unwrap();
    expect(&program, 3).await;
}

/// As containers mount a single file: what is written to it outside is seen inside, what is renamed over it is not.
#[test]
fn a_file_that_is_mounted_by_itself_is_warned_of_and_followed() {
    let allowed = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .output();
    if !allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("not tried: this system lets nobody make namespaces");
        return;
    }
    let directory = Directory::new();
    let outside = directory.write("outside.yaml", watched(1, "{ poll: 200ms }"));
    let inside = directory.write("inside.yaml", "");
    let mut command = std::process::Command::new("unshare");
    let script = "mount --bind \"$1\" \"$2\" && exec \"$0\" run -c \"$2\"";
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .arg(env!("CARGO_BIN_EXE_plimsoll"))
        .args([&outside, &inside]);
    let mut process = Process::spawn(command);
    process.wait_for_line("listening on http://");
    let warning = process.wait_for_line("is mounted by itself");
    assert!(warning.contains("inside.yaml"), "{warning}");
    // In place, twice: the mount still shows the file.
    for (seconds, generation) in [(2, 2), (3, 3)] {
        std::fs::write(&outside, watched(seconds, "{ poll: 200ms }")).unwrap();
        process.wait_for_line(&format!("generation {generation} is in force"));
    }
    process.signal(rustix::process::Signal::TERM);
    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
}

#[test]
fn a_file_in_a_folder_is_not_warned_of() {
    let mut program = Program::start(&yaml(1));
    program.process.signal(rustix::process::Signal::TERM);
    assert_eq!(program.process.wait(), Some(0));
    let told = program.process.stderr();
    assert!(!told.contains("mounted"), "{told}");
}
