//! What is ordered through the admin API.

use hyper::StatusCode;

use crate::harness::{Backend, Client, Directory, Process, Proxy, plain, within};

#[tokio::test]
async fn a_reload_is_ordered_and_its_report_is_the_answer() {
    let backend = Backend::start("a");
    // The watch would be there before the order now and then.
    let yaml = plain(&[backend.endpoint()]) + "watch: off\n";
    let directory = Directory::new();
    let file = directory.write("plimsoll.yaml", &yaml);
    let process = Process::start(&["run", "-c", file.to_str().unwrap()]);
    let line = process.wait_for_line("admin on http://");
    let (_, admin) = line.rsplit_once("http://").unwrap();
    let mut client = Client::h1(admin.parse().unwrap()).await;

    directory.write("plimsoll.yaml", &(yaml + "zone: a\n"));
    let applied = within(client.post("/api/v1/reload", "")).await;
    assert_eq!(applied.status, StatusCode::OK, "{}", applied.text());
    let json = applied.json();
    assert_eq!(json["applied"], true);
    assert_eq!(json["changes"]["generation"], 2);
    assert_eq!(json["changes"]["settings"][0], "zone");

    directory.write("plimsoll.yaml", "listeners: {}\n");
    let refused = within(client.post("/api/v1/reload", "")).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(refused.json()["applied"], false);
    assert!(
        refused.json()["error"]
            .as_str()
            .unwrap()
            .contains("listeners")
    );
}

#[tokio::test]
async fn a_command_is_posted_and_nothing_else() {
    let proxy = Proxy::before(&["127.0.0.1:1".to_owned()]).await;
    let mut client = Client::h1(proxy.admin()).await;
    let read = client.get("/api/v1/reload").await;
    assert_eq!(read.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(read.header("allow"), Some("POST"));
    // The harness starts it without a file.
    let ordered = within(client.post("/api/v1/reload", "")).await;
    assert_eq!(ordered.status, StatusCode::CONFLICT);
    assert!(client.get("/").await.text().contains("/api/v1/reload"));
}
