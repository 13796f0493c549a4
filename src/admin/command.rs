//! What an operator asks of the process through the admin API, and what is answered. `lifecycle` obeys.

use serde_json::Value as Json;
use tokio::sync::{mpsc, oneshot};

/// What the process is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Read the file again and put it in force, or change nothing and say why.
    Reload,
    /// Accept nothing new, finish what runs, then end.
    Drain,
    /// Say what a reload would change.
    Diff,
}

impl Command {
    /// Each with the path that it is posted to, and what it does.
    pub const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (
            Self::Reload,
            "/api/v1/reload",
            "POST: reads the configuration file again; 200 with what changed, 409 with why nothing did",
        ),
        (
            Self::Drain,
            "/api/v1/drain",
            "POST: accepts nothing new, finishes what runs within drain_timeout, then ends; 202",
        ),
    ];

    /// The one that is posted to this path.
    pub fn at(path: &str) -> Option<Self> {
        let mut all = Self::ALL.iter();
        all.find(|(_, at, _)| *at == path)
            .map(|(command, ..)| *command)
    }
}

/// A command on its way to the control loop.
#[derive(Debug)]
pub struct Order {
    pub command: Command,
    pub answer: oneshot::Sender<Told>,
}

/// Where orders are sent.
pub type Orders = mpsc::UnboundedSender<Order>;

/// What came of a command.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Of HTTP.
    pub status: u16,
    pub body: Json,
}

/// Orders it, and waits until it is done; `None` when the process ends before that.
pub async fn order(orders: &Orders, command: Command) -> Option<Told> {
    let (answer, answered) = oneshot::channel();
    orders.send(Order { command, answer }).ok()?;
    answered.await.ok()
}
