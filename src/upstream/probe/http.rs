//! The check over HTTP: the status, the fields and the body of one answer.

use ::http::uri::PathAndQuery;
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, header, response};
use bytes::Bytes;
use memchr::memmem::Finder;

use super::exchange::{self, Question, REST_BYTES, Reply};
use super::failure::{CheckFailure, Unsendable};
use crate::config::{self, StatusRange};
use crate::stream::Stream;

/// Says to servers whose log it is in what it is.
const USER_AGENT: &str = concat!("plimsoll/", env!("CARGO_PKG_VERSION"), " (health check)");

/// A check over HTTP.
#[derive(Debug)]
pub(super) struct HttpCheck {
    question: Question,
    status: Vec<StatusRange>,
    fields: Vec<(HeaderName, HeaderValue)>,
    text: Option<Finder<'static>>,
}

impl HttpCheck {
    pub(super) fn compile(
        written: &config::ActiveHealth,
        is_tls: bool,
    ) -> Result<Self, Unsendable> {
        let path: Result<PathAndQuery, _> = written.path.parse();
        let method = Method::from_bytes(written.method.as_bytes());
        let text = written.body.as_ref();
        Ok(Self {
            question: Question {
                method: method.map_err(|_| Unsendable { what: "the method" })?,
                path: path.map_err(|_| Unsendable { what: "the path" })?,
                is_tls,
                fields: request_fields(&written.headers)?,
                body: Bytes::new(),
            },
            status: written.status.clone(),
            fields: fields(written.header.as_deref().unwrap_or_default())?,
            text: text.map(|text| Finder::new(text).into_owned()),
        })
    }

    /// Passed, it gives what is left of the answer.
    pub(super) async fn check(
        &self,
        authority: &str,
        stream: Stream,
        is_h2: bool,
    ) -> Result<Reply, CheckFailure> {
        let (head, mut reply) = exchange::ask(&self.question, authority, stream, is_h2).await?;
        self.judge(&head)?;
        if let Some(text) = &self.text {
            find(text, &mut reply).await?;
        }
        Ok(reply)
    }

    fn judge(&self, head: &response::Parts) -> Result<(), CheckFailure> {
        let status = head.status.as_u16();
        if !self.status.iter().any(|range| range.holds(status)) {
            return Err(CheckFailure::Status(status));
        }
        for (name, value) in &self.fields {
            let mut values = head.headers.get_all(name).iter();
            if !values.any(|one| one == value) {
                return Err(CheckFailure::Field {
                    name: name.to_string(),
                    is_there: head.headers.contains_key(name),
                });
            }
        }
        Ok(())
    }
}

/// Looks for a text in the beginning of a body.
async fn find(text: &Finder<'_>, reply: &mut Reply) -> Result<(), CheckFailure> {
    let mut read = Vec::new();
    while read.len() < REST_BYTES {
        let Some(data) = reply.data().await? else {
            break;
        };
        // It may have begun in what came before.
        let from = (read.len() + 1).saturating_sub(text.needle().len());
        let room = REST_BYTES - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if text.find(&read[from..]).is_some() {
            return Ok(());
        }
    }
    Err(CheckFailure::NoText { bytes: read.len() })
}

/// The fields of a request, with a `User-Agent` where none is written.
pub(super) fn request_fields(written: &[(String, String)]) -> Result<HeaderMap, Unsendable> {
    let mut all: HeaderMap = HeaderMap::new();
    all.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    for (name, value) in fields(written)? {
        all.insert(name, value);
    }
    Ok(all)
}

fn fields(written: &[(String, String)]) -> Result<Vec<(HeaderName, HeaderValue)>, Unsendable> {
    let each = written.iter().map(|(name, value)| {
        let name = HeaderName::from_bytes(name.as_bytes());
        let value = HeaderValue::from_bytes(value.as_bytes());
        name.ok()
            .zip(value.ok())
            .ok_or(Unsendable { what: "a field" })
    });
    each.collect()
}
