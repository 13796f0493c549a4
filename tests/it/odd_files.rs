//! What stands in the place of a file and is none: it holds nothing up, ends nothing, and is told by name.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use crate::harness::{Authority, DEADLINE, Directory, Process, Program, eventually};

/// One key, and what asks for it.
const KEYS: &str = "a:0000000000000000000000000000000000000000000000000000000000000000\n";

/// Listeners with and without TLS, and a route that asks for a key.
fn yaml(keys: &Path, cert: &Path, key: &Path) -> String {
    format!(
        "listeners:\n  web: {{ address: \"127.0.0.1:0\" }}\n  x:\n    address: \"127.0.0.1:0\"\n    \
         tls: {{ certificates: [ {{ cert: {cert:?}, key: {key:?} }} ] }}\n\
         routes: [ {{ auth: {{ api_key: {{ keys_file: {keys:?} }} }}, respond: {{ status: 204 }} }} ]\n"
    )
}

fn fifo(path: &Path) {
    let _ = std::fs::remove_file(path);
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[tokio::test]
async fn a_fifo_in_place_of_a_file_holds_no_reload_up() {
    let directory = Directory::new();
    let identity = Authority::new().identity(&["a.test"]);
    let (cert, key) = identity.write(&directory, "own");
    let keys = directory.write("keys", KEYS);
    let yaml = yaml(&keys, &cert, &key);
    let file = directory.write("plimsoll.yaml", &yaml);
    let program = Program::run(directory, file.clone());
    for path in [&keys, &key, &cert, &file] {
        let contents = std::fs::read(path).unwrap();
        let told = || program.process.stderr().matches("it is a FIFO").count();
        let before = told();
        fifo(path);
        program.process.signal(Signal::HUP);
        eventually(DEADLINE, || told() > before).await;
        let mut check = Process::start(&["check", file.to_str().unwrap()]);
        let code = check.wait();
        if *path == file {
            assert_eq!(code, Some(3), "{}", check.stderr());
        }
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, contents).unwrap();
    }
    program.process.signal(Signal::HUP);
    program.process.wait_for_line("generation 2 is in force");
}

/// It has no end, so that reading it to its end would take all memory.
#[test]
fn a_device_in_place_of_a_certificate_is_refused() {
    let directory = Directory::new();
    let keys = directory.write("keys", KEYS);
    let endless = Path::new("/dev/zero");
    let file = directory.write("plimsoll.yaml", yaml(&keys, endless, endless));
    let mut process = Process::start(&["run", "-c", file.to_str().unwrap()]);
    assert_eq!(process.wait(), Some(3), "{}", process.stderr());
    let stderr = process.stderr();
    assert!(
        stderr.contains("/dev/zero") && stderr.contains("a device"),
        "{stderr}"
    );
}

#[test]
fn a_configuration_may_come_out_of_a_pipe() {
    let (from, mut to) = std::io::pipe().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["check", "/dev/stdin"]);
    let mut check = Process::spawn_reading(command, Stdio::from(from));
    let text = "listeners: { web: { address: \"127.0.0.1:0\" } }\nroutes: [ { respond: { status: 204 } } ]\n";
    std::io::Write::write_all(&mut to, text.as_bytes()).unwrap();
    drop(to);
    assert_eq!(check.wait(), Some(0), "{}", check.stderr());
}
