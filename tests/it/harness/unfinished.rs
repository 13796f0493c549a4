//! A request that is under way for as long as a test wants, however fast or slow the machine is.

use std::net::SocketAddr;

use hyper::Request;
use tokio::task::JoinHandle;

use super::{Answer, Client, Outgoing, Upload, within};

/// An upload: its answer comes when all of it is there. Dropping it breaks it off.
pub struct Unfinished {
    upload: Upload,
    answered: JoinHandle<Answer>,
}

impl Unfinished {
    /// On an HTTP/1.1 connection of its own.
    pub async fn begin(address: SocketAddr) -> Self {
        Self::on(Client::h1(address).await).await
    }

    /// The client is not to be used for anything else, unless it has another hand.
    pub async fn on(mut client: Client) -> Self {
        let (mut upload, body) = Outgoing::pieces();
        let request = Request::post("/checksum").body(body).unwrap();
        let answered = tokio::spawn(async move { client.send(request).await });
        assert!(upload.send("some").await);
        Self { upload, answered }
    }

    pub fn is_answered(&self) -> bool {
        self.answered.is_finished()
    }

    /// Sends the end, and waits for the answer.
    pub async fn finish(self) -> Answer {
        drop(self.upload);
        within(self.answered).await.unwrap()
    }
}
