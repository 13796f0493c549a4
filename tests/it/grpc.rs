//! gRPC through the proxy: calls of one message and streams in both directions, with their status in trailers.
//!
//! Not here: what both sides speak, which [`crate::harness::grpc`] writes and reads by hand.

use crate::harness::grpc::{Messages, call, message, server};
use crate::harness::{Answer, Client, Outgoing, Proxy, config};

async fn proxy() -> Proxy {
    let endpoint = server().await.to_string();
    Proxy::start(&config(&[endpoint], "", "", "protocol: h2")).await
}

#[tokio::test]
async fn a_unary_call_has_its_status_in_trailers() {
    let proxy = proxy().await;
    let mut client = Client::h2(proxy.address()).await;
    for text in ["", "one", &"long ".repeat(100_000)] {
        let asked = call("/test.Echo/Talk", Outgoing::whole(message(text)));
        let answer: Answer = client.send(asked).await;
        assert_eq!(answer.status.as_u16(), 200);
        assert!(answer.body == message(&format!("echo {text}")));
        assert_eq!(answer.trailers["grpc-status"], "0");
        assert_eq!(answer.trailers["grpc-message"], "as%20asked");
    }
}

#[tokio::test]
async fn a_status_without_a_message_passes_in_the_head() {
    let proxy = proxy().await;
    let mut client = Client::h2(proxy.address()).await;
    let asked = call("/test.Echo/Unknown", Outgoing::whole(message("one")));
    let answer = client.send(asked).await;
    assert_eq!(answer.header("grpc-status"), Some("12"));
    assert!(answer.body.is_empty() && answer.trailers.is_empty());
}

#[tokio::test]
async fn each_message_of_a_stream_passes_before_the_next_is_sent() {
    let proxy = proxy().await;
    let client = Client::h2(proxy.address()).await;
    let talks = (0..8).map(|talk| {
        let mut client = client.another();
        tokio::spawn(async move {
            let (mut upload, body) = Outgoing::pieces();
            // The answer begins before the request ends.
            let response = client.open(call("/test.Echo/Talk", body)).await.unwrap();
            let mut answers = Messages::of(response.into_body());
            for number in 0..50 {
                let text = format!("{talk}.{number}");
                assert!(upload.send(message(&text)).await);
                assert_eq!(answers.next().await, Some(format!("echo {text}")));
            }
            drop(upload);
            assert_eq!(answers.next().await, None);
            assert_eq!(answers.trailers["grpc-status"], "0");
        })
    });
    for talk in talks.collect::<Vec<_>>() {
        talk.await.unwrap();
    }
}
