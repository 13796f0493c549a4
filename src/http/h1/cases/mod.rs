//! Heads and bodies that must be read, and those that must be refused, with the cause. The causes of known faults of
//! other proxies are among them.

mod bodies;
mod requests;
mod responses;
mod shared_rules;
mod written;

use super::parse::{self, Limits, ParseError};
use crate::http::head::{RequestHead, ResponseHead};

const LIMITS: Limits = Limits {
    head_bytes: 32 * 1024,
    fields: 100,
};

fn request(input: &[u8]) -> Result<RequestHead, ParseError> {
    let mut head = RequestHead::default();
    match parse::request(input, &LIMITS, &mut head)? {
        Some(consumed) => {
            assert_eq!(consumed, input.len(), "the head ends where the input does");
            Ok(head)
        }
        None => panic!("incomplete: {}", input.escape_ascii()),
    }
}

fn response(input: &[u8], method: &::http::Method) -> Result<ResponseHead, ParseError> {
    let mut head = ResponseHead::default();
    match parse::response(input, &LIMITS, method, &mut head)? {
        Some(consumed) => {
            assert_eq!(consumed, input.len(), "the head ends where the input does");
            Ok(head)
        }
        None => panic!("incomplete: {}", input.escape_ascii()),
    }
}

/// A request with these field lines after a valid Host.
fn with(lines: &str) -> Result<RequestHead, ParseError> {
    request(format!("POST /p HTTP/1.1\r\nHost: a\r\n{lines}\r\n").as_bytes())
}

/// A response to GET with these field lines.
fn answer(lines: &str) -> Result<ResponseHead, ParseError> {
    response(
        format!("HTTP/1.1 200 OK\r\n{lines}\r\n").as_bytes(),
        &::http::Method::GET,
    )
}
