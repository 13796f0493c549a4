//! TEMP
use std::task::{Context, Poll};
use super::body::{Body, BodyError, Frame};
use super::head::Length;
use bytes::Bytes;
pub struct Reader; impl Reader {
 pub fn poll_frame(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Frame<'static>, BodyError>> { Poll::Pending }
 pub fn passed_on(&mut self, _b: usize) {} pub fn length(&self) -> Length { Length::Empty } pub fn is_done(&self) -> bool { true } }
pub struct Writer; impl Writer {
 pub fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> { Poll::Pending }
 pub fn send(&mut self, _b: Bytes) -> Result<(), BodyError> { Ok(()) }
 pub fn finish(&mut self, _t: Option<Box<super::fields::Fields>>) -> Result<(), BodyError> { Ok(()) }
 pub fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> { Poll::Pending }
 pub fn poll_reset(&mut self, _cx: &mut Context<'_>) -> Poll<BodyError> { Poll::Pending }
 pub fn abort(&mut self) {} }
pub use client::Client;
pub mod server { use super::*; use crate::http::*; use std::rc::Rc;
 pub struct Responder; impl Responder { pub fn interim(&mut self, _s: u16, _h: &Outgoing<'_>) {} pub fn respond(self, _s: u16, _h: &Outgoing<'_>) -> body::Sink { body::Sink::Nowhere } pub fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> { Poll::Pending } }
 #[expect(clippy::too_many_arguments, reason = "temp")]
 pub async fn serve<H: Handler>(_s: crate::stream::Stream, _u: Vec<u8>, _p: Rc<Peer>, _se: Rc<h1::server::Settings>, _t: crate::clock::wheel::Timer, _d: drain::Drain, _b: buffers::Buffers, _h: H) {} }
pub mod client { use super::*; use crate::http::*;
 #[derive(Clone)] pub struct Client; impl Client { pub fn is_alive(&self) -> bool { false } pub fn in_use(&self) -> usize { 0 } pub fn capacity(&self) -> usize { 0 }
  pub fn send(&self, _l: &RequestLine<'_>, _s: &str, _h: &Outgoing<'_>) -> Result<(body::Sink, Pending), ClientError> { Err(ClientError) } }
 pub struct ClientError; pub struct Pending; impl Pending { pub fn poll_head(&mut self, _cx: &mut Context<'_>, _h: &mut head::ResponseHead) -> Poll<Result<(), ClientError>> { Poll::Pending } pub fn body(&mut self) -> Body { Body::Empty } }
 pub async fn connect(_s: crate::stream::Stream, _b: buffers::Buffers) -> Result<(Client, std::future::Ready<()>), ClientError> { Err(ClientError) } }
