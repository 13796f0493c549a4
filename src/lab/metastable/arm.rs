//! The configurations that are compared (pure).

use std::net::SocketAddr;

use super::{ATTEMPT, PATIENCE, Plan};
use crate::config::units::format_duration;

/// One configuration.
#[derive(Debug, Clone)]
pub struct Arm {
    pub name: &'static str,
    /// Why it is there.
    pub meaning: &'static str,
    /// What the upstream has besides its endpoint and its timeouts, each line a key.
    pub keys: String,
    pub expected: Expected,
}

/// What must become of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// It does not come back by itself.
    Collapse,
    /// It comes back soon.
    Recovery,
    /// Whatever it is.
    Nothing,
}

impl Arm {
    /// All of them, for a backend of this capacity.
    pub fn all(plan: &Plan) -> Vec<Self> {
        // A breaker would end the storm in its own way: what is shown is what the queue does. The default has one.
        // Together a little more than half of what is answered within an attempt's time.
        let deadline = plan.capacity * ATTEMPT.as_secs_f64();
        let in_flight = (deadline * 0.1).round().max(1.0);
        let queue = (deadline * 0.5).round().max(1.0);
        vec![
            Self {
                name: "naive",
                meaning: "one retry, whatever it costs, and no bound on who waits",
                keys: "retry: { max_attempts: 2, budget: off }\n\
                       breaker: off\n\
                       bulkhead: { max_in_flight: 1000000, per_endpoint: 1000000 }\n\
                       connections: { max: 100000 }\n"
                    .to_owned(),
                expected: Expected::Collapse,
            },
            Self {
                name: "cure",
                meaning: "who waits is less than what is answered in the time of an attempt",
                keys: format!(
                    "retry: {{ max_attempts: 2, budget: 10% }}\n\
                     breaker: off\n\
                     bulkhead: {{ max_in_flight: {in_flight}, per_endpoint: {in_flight}, queue: {queue}, queue_timeout: 500ms }}\n"
                ),
                expected: Expected::Recovery,
            },
            Self {
                name: "default",
                meaning: "nothing is written",
                keys: String::new(),
                expected: Expected::Nothing,
            },
        ]
    }

    /// The whole configuration of the proxy.
    pub fn yaml(&self, endpoint: SocketAddr) -> String {
        let (attempt, total) = (format_duration(ATTEMPT), format_duration(PATIENCE));
        let mut text = format!(
            "workers: 2\n\
             listeners: {{ web: {{ address: \"127.0.0.1:0\" }} }}\n\
             routes: [ {{ upstream: lab }} ]\n\
             upstreams:\n  lab:\n    endpoints: [ \"{endpoint}\" ]\n    \
             timeouts: {{ first_byte: {attempt}, total: {total} }}\n"
        );
        for line in self.keys.lines() {
            text.push_str(&format!("    {line}\n"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::from_text;

    #[test]
    fn every_arm_is_a_configuration() {
        let plan = Plan {
            capacity: 200.0,
            rate: 186.0,
            before: 5,
            stall: 5,
            after: 25,
        };
        for arm in Arm::all(&plan) {
            let yaml = arm.yaml("127.0.0.1:1".parse().unwrap());
            let loaded = from_text("arm.yaml", &yaml, &|_| None);
            assert!(loaded.is_ok(), "{}: {}", arm.name, loaded.unwrap_err());
        }
    }
}
