//! Who may use the admin API.

use std::net::SocketAddr;

use hyper::StatusCode;

use crate::harness::{DEADLINE, Directory, Message, Process, Proxy, Raw, eventually};

const TOKEN: &str = "a token of an operator";
const OTHER: &str = "another one, no shorter";

fn yaml(directory: &Directory, tokens: &str) -> String {
    let file = directory.write("tokens", tokens);
    format!(
        "listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
         routes: [ {{ respond: {{ status: 204 }} }} ]\n\
         admin: {{ address: \"127.0.0.1:0\", token_file: {file:?} }}\n"
    )
}

/// Sends a request whose head has these lines.
async fn ask(admin: SocketAddr, line: &str, fields: &[&str]) -> Message {
    let mut raw = Raw::connect(admin).await;
    let mut head = format!("{line} HTTP/1.1\r\nContent-Length: 0\r\n");
    if !fields.iter().any(|field| field.starts_with("Host:")) {
        head += &format!("Host: {admin}\r\n");
    }
    for field in fields {
        head += &format!("{field}\r\n");
    }
    raw.send(head + "\r\n").await;
    raw.response().await
}

#[tokio::test]
async fn with_tokens_only_liveness_and_readiness_are_told_to_all() {
    let directory = Directory::new();
    let proxy = Proxy::start(&yaml(&directory, &format!("{TOKEN}\n"))).await;
    let admin = proxy.admin();
    let bearer = |token: &str| format!("Authorization: Bearer {token}");
    assert_eq!(ask(admin, "GET /live", &[]).await.status(), 200);
    assert_ne!(ask(admin, "GET /ready", &[]).await.status(), 401);
    for line in [
        "GET /",
        "GET /metrics",
        "GET /api/v1/status",
        "GET /api/v1/diff",
        "POST /api/v1/reload",
        "GET /nothing",
    ] {
        let refused = ask(admin, line, &[]).await;
        assert_eq!(refused.status(), 401, "{line}");
        assert_eq!(
            refused.field("www-authenticate"),
            Some("Bearer realm=\"plimsoll\"")
        );
        let wrong = ask(admin, line, &[&bearer(OTHER)]).await;
        assert_eq!(wrong.status(), 401, "{line}");
        let right = ask(admin, line, &[&bearer(TOKEN)]).await;
        assert_ne!(right.status(), 401, "{line}");
    }
    let metrics = ask(admin, "GET /metrics", &[&bearer(TOKEN)]).await;
    let denied = "plimsoll_admin_requests_denied_total{reason=\"token\"} 12\n";
    assert!(metrics.text().contains(denied), "{}", metrics.text());

    // They are exchanged by a reload; what cannot be read changes nothing.
    let both = yaml(&directory, &format!("{OTHER}\n{TOKEN}\n"));
    proxy.reload(&both).await.unwrap();
    for token in [TOKEN, OTHER] {
        let answer = ask(admin, "GET /metrics", &[&bearer(token)]).await;
        assert_eq!(answer.status(), 200);
    }
    let error = proxy
        .reload(&yaml(&directory, "short\n"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("fewer than 16 bytes"), "{error}");
    proxy.reload(&yaml(&directory, OTHER)).await.unwrap();
    let answer = ask(admin, "GET /metrics", &[&bearer(TOKEN)]).await;
    assert_eq!(answer.status(), 401);
}

#[tokio::test]
async fn tokens_are_those_of_their_file_without_a_reload() {
    let directory = Directory::new();
    let proxy = Proxy::start(&yaml(&directory, TOKEN)).await;
    let status = async |token: &str| {
        let bearer = format!("Authorization: Bearer {token}");
        ask(proxy.admin(), "GET /metrics", &[&bearer])
            .await
            .status()
    };
    assert_eq!((status(TOKEN).await, status(OTHER).await), (200, 401));
    directory.write("tokens", OTHER);
    let applied = || proxy.live().credentials.read()[0].1;
    eventually(DEADLINE, || applied() == 1).await;
    assert_eq!((status(TOKEN).await, status(OTHER).await), (401, 200));
}

#[tokio::test]
async fn the_command_line_takes_the_token_from_the_file_or_the_environment() {
    let directory = Directory::new();
    let text = yaml(&directory, &format!("{TOKEN}\n"));
    let proxy = Proxy::start(&text).await;
    let admin = proxy.admin().to_string();
    let told = text.replace(
        "address: \"127.0.0.1:0\", token",
        &format!("address: {admin:?}, token"),
    );
    directory.write("plimsoll.yaml", told);
    let mut beside = Process::start_in(directory.path(), &["status"]);
    assert_eq!(beside.wait(), Some(0), "{}", beside.stderr());
    let away = Directory::new();
    let mut without = Process::start_in(away.path(), &["status", "--admin", &admin]);
    assert_eq!(without.wait(), Some(1));
    let said = without.stderr();
    assert!(said.contains("PLIMSOLL_ADMIN_TOKEN"), "{said}");
    assert!(!said.contains(TOKEN));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_plimsoll"));
    command.args(["status", "--admin", &admin]);
    command
        .current_dir(away.path())
        .env("PLIMSOLL_ADMIN_TOKEN", TOKEN);
    let mut with = Process::spawn(command);
    assert_eq!(with.wait(), Some(0), "{}", with.stderr());
}

#[tokio::test]
async fn pages_of_other_sites_can_neither_change_nor_read_anything() {
    let proxy = Proxy::before(&["127.0.0.1:1".to_owned()]).await;
    let admin = proxy.admin();
    let own = format!("Origin: http://{admin}");
    let (reload, status) = ("POST /api/v1/reload", "GET /api/v1/status");
    // Started without a file, so that a reload that is let in is refused with 409.
    let cases: [(&str, &[&str], StatusCode); 9] = [
        (reload, &[], StatusCode::CONFLICT),
        (reload, &[&own], StatusCode::CONFLICT),
        (
            reload,
            &["Sec-Fetch-Site: same-origin"],
            StatusCode::CONFLICT,
        ),
        (
            reload,
            &["Origin: http://evil.example"],
            StatusCode::FORBIDDEN,
        ),
        (reload, &["Origin: null"], StatusCode::FORBIDDEN),
        (
            reload,
            &["Sec-Fetch-Site: cross-site"],
            StatusCode::FORBIDDEN,
        ),
        (reload, &["Host: evil.example"], StatusCode::FORBIDDEN),
        (status, &["Host: evil.example:80"], StatusCode::FORBIDDEN),
        (status, &["Host: localhost"], StatusCode::OK),
    ];
    for (line, fields, expected) in cases {
        let answer = ask(admin, line, fields).await;
        assert_eq!(answer.status(), expected.as_u16(), "{line} {fields:?}");
    }
    for line in [
        "GET /api/v1/reload",
        "PUT /api/v1/reload",
        "POST /api/v1/diff",
    ] {
        assert_eq!(ask(admin, line, &[]).await.status(), 405, "{line}");
    }
    assert_eq!(proxy.live().snapshot.load().generation, 1);
}

#[tokio::test]
async fn an_admin_api_that_others_can_reach_needs_tokens() {
    let mut open = Process::start(&[
        "proxy",
        "--listen",
        "127.0.0.1:0",
        "--to",
        "127.0.0.1:1",
        "--admin",
        "0.0.0.0:0",
    ]);
    assert_eq!(open.wait(), Some(2));
    assert!(
        open.stderr().contains("admin.token_file"),
        "{}",
        open.stderr()
    );
    let directory = Directory::new();
    let missing = yaml(&directory, TOKEN).replace("tokens", "none");
    let file = directory.write("plimsoll.yaml", missing);
    let mut unreadable = Process::start(&["run", "-c", file.to_str().unwrap()]);
    assert_eq!(unreadable.wait(), Some(3));
    let said = unreadable.stderr();
    assert!(
        said.contains("admin.token_file") && said.contains("none"),
        "{said}"
    );
}
