//! What the program does for those who use it, seen through real sockets; one module per behaviour.

#![allow(
    clippy::unwrap_used,
    reason = "what a test or its harness cannot go on from is a failure of the test"
)]

mod access_log;
mod addresses;
mod admin;
mod admin_access;
mod admin_commands;
mod authorize;
mod balancing;
mod balancing_metrics;
mod breaker;
mod bulkhead;
mod certificates;
mod chaos;
mod client_certificates;
mod command_line;
mod discovery;
mod drain;
mod endpoint_tls;
mod failures;
mod faults;
mod fields;
mod floods;
mod forwarding;
mod grpc;
mod h2_conformance;
mod handshake_flood;
mod harness;
mod health;
mod hedging;
mod hostile_requests;
mod hostile_responses;
mod idempotency;
mod lab;
mod large_bodies;
mod lifecycle;
mod limiting;
mod limits;
mod metrics;
mod outlier;
mod pooling;
mod privileges;
mod proxy_protocol;
mod real_programs;
mod reload;
mod reload_listeners;
mod reload_load;
mod replay;
mod retries;
mod route_command;
mod routing;
mod slow_clients;
mod spread;
mod systemd;
mod timeouts;
mod tls;
mod upgrade_binary;
mod upgrade_load;
mod upgrades;
mod watching;
mod watermark;
mod workers;
