//! A WebSocket client.

use std::net::{SocketAddr, TcpStream};

use tokio_tungstenite::tungstenite::{self, Message};

use super::DEADLINE;

/// One WebSocket connection over HTTP/1.1. Its calls block: the backend and the proxy run on threads of their own.
pub struct WebSocket(tungstenite::WebSocket<TcpStream>);

impl WebSocket {
    /// Does the opening handshake.
    pub fn open(address: SocketAddr, path: &str) -> Result<Self, Box<tungstenite::Error>> {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        match tungstenite::client(format!("ws://{address}{path}"), stream) {
            Ok((socket, _)) => Ok(Self(socket)),
            Err(tungstenite::HandshakeError::Failure(error)) => Err(Box::new(error)),
            Err(interrupted) => panic!("{interrupted}"),
        }
    }

    pub fn send(&mut self, message: Message) {
        self.0.send(message).unwrap();
    }

    pub fn receive(&mut self) -> Message {
        self.0.read().unwrap()
    }

    /// Sends a text and waits for it to come back.
    pub fn expect_echo(&mut self, text: &str) {
        self.send(Message::text(text));
        assert_eq!(self.receive(), Message::text(text));
    }

    /// Does the closing handshake.
    pub fn close(mut self) {
        self.0.close(None).unwrap();
        loop {
            match self.0.read() {
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => return,
                Err(error) => panic!("{error}"),
            }
        }
    }
}
