//! Starting, draining and ending.

use crate::harness::{Backend, Client, Proxy};

#[tokio::test]
async fn requests_are_answered_by_the_endpoint() {
    let backend = Backend::start("a");
    let proxy = Proxy::before(&[backend.endpoint()]).await;
    let answer = Client::h1(proxy.address()).await.get("/").await;
    assert_eq!(answer.backend(), Some("a"));
}
