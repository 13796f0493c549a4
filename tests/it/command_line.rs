//! The program as it is called: what it prints, and its exit codes.

use std::net::{SocketAddr, TcpListener};

use hyper::StatusCode;
use rustix::process::Signal;

use crate::harness::{Backend, Client, Directory, Process, plain};

/// Runs to its end; exit code, stdout, stderr.
fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut process = Process::start(arguments);
    let code = process.wait();
    (code, process.stdout(), process.stderr())
}

/// Runs a configuration that must not start.
fn refused(yaml: &str) -> (Option<i32>, String) {
    let directory = Directory::new();
    let file = directory.write("plimsoll.yaml", yaml);
    let (code, stdout, stderr) = output(&["run", "-c", file.to_str().unwrap()]);
    assert_eq!(stdout, "");
    assert!(!stderr.contains("listening on"), "{stderr}");
    (code, stderr)
}

#[test]
fn a_bad_configuration_exits_2_with_every_place_and_starts_nothing() {
    let yaml = "listeners: { web: { adress: \"127.0.0.1:0\" } }\nroutes: [ { upstream: nowhere } ]\nworkers: many\n";
    let (code, stderr) = refused(yaml);
    assert_eq!(code, Some(2));
    for part in [
        "plimsoll.yaml:1:21: error",
        "did you mean `address`?",
        "plimsoll.yaml:2:",
        "plimsoll.yaml:3:10: error",
    ] {
        assert!(stderr.contains(part), "no {part:?} in\n{stderr}");
    }
}

#[test]
fn a_regular_expression_that_is_none_exits_2() {
    let yaml = plain(&["127.0.0.1:1".to_owned()]).replace("path: /", "path: { regex: \"(\" }");
    let (code, stderr) = refused(&yaml);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("regex"), "{stderr}");
}

#[test]
fn a_missing_file_exits_3_with_its_name() {
    let (code, _, stderr) = output(&["run", "-c", "/nowhere/plimsoll.yaml"]);
    assert_eq!(code, Some(3));
    assert!(
        stderr.contains("/nowhere/plimsoll.yaml: error: cannot be read"),
        "{stderr}"
    );
}

#[test]
fn an_address_in_use_exits_3_with_its_name() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let endpoints = ["127.0.0.1:1".to_owned()];
    let (code, stderr) = refused(&plain(&endpoints).replacen("127.0.0.1:0", &address, 1));
    assert_eq!(code, Some(3));
    assert!(
        stderr.contains(&format!("`web`: {address} is in use")),
        "{stderr}"
    );
    let admin = format!("admin: {{ address: {address:?} }}");
    let (code, stderr) =
        refused(&plain(&endpoints).replace("admin: { address: \"127.0.0.1:0\" }", &admin));
    assert_eq!(code, Some(3));
    assert!(stderr.contains(&format!("{address} is in use")), "{stderr}");
}

#[test]
fn a_second_instance_fails_instead_of_sharing_the_address() {
    let first = Process::start(&["proxy", "--listen", "127.0.0.1:0", "--to", "127.0.0.1:1"]);
    let address = listening(&first).to_string();
    let (code, _, stderr) = output(&["proxy", "--listen", &address, "--to", "127.0.0.1:1"]);
    assert_eq!(code, Some(3));
    assert!(stderr.contains(&format!("{address} is in use")), "{stderr}");
}

#[test]
fn an_access_log_that_cannot_be_opened_exits_3_with_its_name() {
    let yaml = plain(&["127.0.0.1:1".to_owned()]) + "access_log: { path: /nowhere/access.log }\n";
    let (code, stderr) = refused(&yaml);
    assert_eq!(code, Some(3));
    assert!(stderr.contains("/nowhere/access.log"), "{stderr}");
}

#[test]
fn a_missing_certificate_exits_3_with_its_name() {
    let tls = "address: \"127.0.0.1:0\", tls: { certificates: [ { cert: /nowhere/site.pem, key: /nowhere/site.key } ] }";
    let yaml = plain(&["127.0.0.1:1".to_owned()]).replacen("address: \"127.0.0.1:0\"", tls, 1);
    let (code, stderr) = refused(&yaml);
    assert_eq!(code, Some(3));
    assert!(
        stderr.contains("listeners.web.tls: cannot read `/nowhere/site.pem`"),
        "{stderr}"
    );
}

#[test]
fn bad_usage_exits_2() {
    for arguments in [
        &["run", "--nonsense"][..],
        &["nonsense"],
        &[],
        &["proxy", "--to", "http://a:1"],
        &["proxy", "--listen", "127.0.0.1:0"],
        &["proxy", "--to", "127.0.0.1:1", "--balance", "roundrobin"],
        &["health", "--admin", "nowhere"],
        &["demo", "--seconds", "-1"],
    ] {
        let (code, stdout, stderr) = output(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(
            stdout.is_empty() && !stderr.is_empty(),
            "{arguments:?}: {stdout}"
        );
    }
}

fn listening(process: &Process) -> SocketAddr {
    let line = process.wait_for_line("listening on http://");
    let word = line.split_whitespace().nth(2).unwrap();
    word.strip_prefix("http://").unwrap().parse().unwrap()
}

#[tokio::test]
async fn proxy_serves_without_a_file() {
    let (a, b) = (Backend::start("a"), Backend::start("b"));
    let (first, second) = (a.endpoint(), b.endpoint());
    let arguments = [
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--to",
        &first,
        "--to",
        &second,
        "--balance",
        "round_robin",
    ];
    let mut process = Process::start(&arguments);
    let mut client = Client::h1(listening(&process)).await;
    let answers = [client.get("/").await, client.get("/").await];
    let mut labels = answers.each_ref().map(|answer| answer.backend().unwrap());
    labels.sort_unstable();
    assert_eq!(labels, ["a", "b"]);
    process.signal(Signal::HUP);
    process.wait_for_line("there is nothing to read again");
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), Some(0));
}

#[test]
fn proxy_prints_a_configuration_that_check_accepts() {
    let (code, printed, _) = output(&[
        "proxy",
        "--listen",
        "127.0.0.1:8080",
        "--to",
        "127.0.0.1:9001,127.0.0.1:9002",
        "--admin",
        "127.0.0.1:9900",
        "--print-config",
    ]);
    assert_eq!(code, Some(0));
    let directory = Directory::new();
    let file = directory.write("printed.yaml", &printed);
    let (code, stdout, stderr) = output(&["check", "--strict", file.to_str().unwrap()]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(
        stdout.contains("valid: 1 listener, 1 route, 1 upstream, 2 endpoints"),
        "{stdout}"
    );
    assert!(printed.contains("admin:"), "{printed}");
}

/// A configuration whose second route can never match, and what is said about it.
fn with_a_hidden_route() -> (String, [&'static str; 4]) {
    let yaml = plain(&["127.0.0.1:1".to_owned()]).replace(
        "upstream: pool }",
        "upstream: pool },\n  { name: hidden, match: { path: /x }, upstream: pool }",
    );
    let said = [
        "plimsoll.yaml:3:26: warning: routes[1]: can never match: `routes[0]` on line 2 takes all of its requests",
        "since it matches `/*`\n 3 |   { name: hidden, match: { path: /x }, upstream: pool }",
        "\n   |                          ^\n",
        "  = move it further up, or remove it\n",
    ];
    (yaml, said)
}

fn assert_said(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn check_warns_of_routes_that_can_never_match() {
    let (yaml, said) = with_a_hidden_route();
    let directory = Directory::new();
    let file = directory.write("plimsoll.yaml", yaml);
    let file = file.to_str().unwrap();
    let (code, stdout, stderr) = output(&["check", file]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_said(&stdout, &said);
    assert!(stdout.ends_with("; 1 warning\n"), "{stdout}");
    let (code, ..) = output(&["check", file, "--strict"]);
    assert_eq!(code, Some(2));
    let (code, stdout, _) = output(&["check", file, "--json"]);
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &json["valid"]), (Some(0), &true.into()));
    let found = &json["diagnostics"][0];
    assert_eq!(
        (&found["path"], &found["line"], &found["column"]),
        (&"routes[1]".into(), &3.into(), &26.into())
    );
}

#[test]
fn a_start_and_a_reload_warn_of_routes_that_can_never_match_and_go_on() {
    let (yaml, said) = with_a_hidden_route();
    let yaml = yaml + "watch: off\n";
    let directory = Directory::new();
    let file = directory.write("plimsoll.yaml", &yaml);
    let mut process = Process::start(&["run", "-c", file.to_str().unwrap()]);
    listening(&process);
    assert_said(&process.stderr(), &said);
    directory.write(
        "plimsoll.yaml",
        yaml.replace("name: hidden", "name: hiding"),
    );
    process.signal(Signal::HUP);
    process.wait_for_line("reloaded: generation 2");
    let stderr = process.stderr();
    assert_eq!(stderr.matches("can never match").count(), 2, "{stderr}");
    assert!(stderr.contains("{ name: hiding, match: "), "{stderr}");
    process.signal(Signal::TERM);
    assert_eq!(process.wait(), Some(0));
}

#[test]
fn check_reports_every_error_as_text_and_as_json() {
    let directory = Directory::new();
    let file = directory.write("plimsoll.yaml", "lisener: {}\nworkers: many\n");
    let file = file.to_str().unwrap();
    let (code, stdout, stderr) = output(&["check", file]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(
        stderr.contains("did you mean `listeners`?") && stderr.ends_with("3 errors\n"),
        "{stderr}"
    );
    let (code, stdout, _) = output(&["check", "--json", file]);
    let json: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &json["valid"]), (Some(2), &false.into()));
    assert_eq!(json["diagnostics"].as_array().unwrap().len(), 3);
    let (code, ..) = output(&["check", "/nowhere/plimsoll.yaml"]);
    assert_eq!(code, Some(3));
}

#[test]
fn schema_and_completions_print() {
    let (code, schema, _) = output(&["schema"]);
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(
        (code, &schema["title"]),
        (Some(0), &"Plimsoll configuration".into())
    );
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, _) = output(&["completions", shell]);
        assert_eq!(code, Some(0));
        assert!(
            script.contains("plimsoll") && script.contains("backend"),
            "{shell}"
        );
    }
}

#[tokio::test]
async fn the_demo_runs_by_itself_and_ends_cleanly() {
    let arguments = [
        "demo",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--seconds",
        "2",
    ];
    let mut process = Process::start(&arguments);
    let address = listening(&process);
    let answer = Client::h1(address).await.get("/").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.backend().is_some());
    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
    let stdout = process.stdout();
    for part in [
        &format!("http://{address}/"),
        "plimsoll status --admin",
        " 0 failed",
    ] {
        assert!(stdout.contains(part), "no {part:?} in\n{stdout}");
    }
}

#[tokio::test]
async fn the_demo_ends_when_it_is_interrupted() {
    let arguments = ["demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let mut process = Process::start(&arguments);
    listening(&process);
    process.wait_for_line("amber");
    process.signal(Signal::INT);
    assert_eq!(process.wait(), Some(0), "{}", process.stderr());
}

#[test]
fn a_password_is_asked_for_and_kept_as_a_hash() {
    use plimsoll::limit::auth::{Keys, password::Hash};
    let run = |arguments: &[&str], typed: &str| {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_plimsoll"))
            .arg("password")
            .args(arguments)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        // A child that asks for nothing may be gone already.
        let _ = std::io::Write::write_all(&mut child.stdin.take().unwrap(), typed.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (code, line, stderr) = run(&["ops", "--iterations", "1000"], "s3cret: x\r\nmore\n");
    assert_eq!((code, &*stderr), (Some(0), ""));
    let hash = line.strip_prefix("ops:").unwrap().trim_end();
    assert!(hash.starts_with("$pbkdf2-sha256$i=1000,l=32$"), "{line}");
    let hash = Hash::read(hash).unwrap();
    assert!(hash.is_of(b"s3cret: x") && !hash.is_of(b"s3cret"));
    let (code, line, stderr) = run(&["--key", "partner"], "");
    assert_eq!(code, Some(0));
    let key = stderr.trim_end().rsplit(' ').next().unwrap();
    let keys = Keys::read(&line).unwrap();
    assert_eq!(
        keys.find(key.as_bytes()).map(|name| &**name),
        Some("partner")
    );
    for (arguments, typed) in [
        (&["a:b"][..], "x"),
        (&["a b"], "x"),
        (&[""], "x"),
        (&["ops"], ""),
        (&["ops"], "\n"),
        (&["ops", "--iterations", "1"], "x"),
        (&["ops", "--key", "--iterations", "1000"], "x"),
        (&[], "x"),
    ] {
        let (code, stdout, _) = run(arguments, typed);
        assert_eq!((code, &*stdout), (Some(2), ""), "{arguments:?}");
    }
}
