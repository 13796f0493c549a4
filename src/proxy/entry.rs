//! May this client enter? Asks those who judge it, in their order, and keeps what they found: who the client is, what its
//! endpoint and it are to be told.
//!
//! Before there is a route ([`before_route`]): what its connection shows ([`certified`]), the limits of its listener
//! ([`limited`]). Once there is one ([`admit`]): the addresses ([`addresses`]) and the limits of the route, who the client is
//! ([`authorize`]), and the limits that are kept for each of whom it is.

use super::error::ProxyError;
use super::exchange::Exchange;
use super::forward::Downstream;
use super::limited::Limited;
use super::{addresses, authorize, certified, limited};
use crate::http::body::Body;
use crate::http::fields::{Fields, is_read_as};
use crate::http::head::Length;
use crate::route::Route;
use crate::worker::View;

/// What is known of a client that was judged. A request that nobody judges has none; a judge that has something to tell begins one
/// by `exchange.entry.get_or_insert_default()`. What an execution apart from the client must hold as well stands in it by `Rc`.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Who it is: the subject of a certificate, a user, the name of a key.
    pub identity: Option<Box<str>>,
    /// Fields of the client, as it spelt them, that could be read as one that only the proxy may write: they do not reach the
    /// endpoint.
    pub omitted: Vec<Box<[u8]>>,
    /// What the endpoint is told, in place of what the client said there.
    pub upstream: Vec<Field>,
    /// What the client is told with any answer, also with one that refuses it.
    pub downstream: Vec<Field>,
    /// What it got of its limiters.
    pub limited: Limited,
}

/// A header field that the proxy writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub name: Box<[u8]>,
    /// Without what would end a line.
    pub value: Box<[u8]>,
}

impl Field {
    /// Of these bytes.
    pub fn new(name: &[u8], value: &[u8]) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
        }
    }
}

impl Entry {
    /// Has endpoints told this, in place of whatever was to be told by these names before.
    pub fn tell<const N: usize>(&mut self, fields: [Field; N]) {
        self.tell_all(fields.into());
    }

    /// The same of any number of fields. Several may have one name.
    pub fn tell_all(&mut self, fields: Vec<Field>) {
        let is_new = |known: &Field| fields.iter().any(|new| is_read_as(&known.name, &new.name));
        self.upstream.retain(|known| !is_new(known));
        self.upstream.extend(fields);
    }

    fn write_upstream(&self, omit: &mut Vec<Vec<u8>>, extra: &mut Fields) {
        let told = self.upstream.iter().map(|field| &field.name);
        omit.extend(self.omitted.iter().chain(told).map(|name| name.to_vec()));
        push(&self.upstream, extra);
    }
}

fn push(fields: &[Field], extra: &mut Fields) {
    for field in fields {
        extra.push(&field.name, &field.value);
    }
}

/// Judges a request before a route is looked for.
pub fn before_route(exchange: &mut Exchange) -> Result<(), ProxyError> {
    certified::judge(exchange)?;
    limited::judge_listener(exchange)
}

/// Judges a request that has a route, before anything is done for it. False: whoever judged it has answered it.
pub async fn admit(
    exchange: &mut Exchange,
    down: &mut Downstream,
    view: &View,
    route: &Route,
) -> Result<bool, ProxyError> {
    addresses::judge(exchange, view, route)?;
    limited::judge(exchange)?;
    // Boxed: it is rare, and waits for others.
    if authorize::asks(exchange) && !Box::pin(authorize::judge(exchange, down, view, route)).await?
    {
        return Ok(false);
    }
    limited::judge_identity(exchange)?;
    limited::hold_upload(exchange, down);
    cleanse_trailers(exchange, down);
    Ok(true)
}

/// What only the proxy may say of a client is no more believed behind the body than before it: an application may read
/// trailers as if they were fields of the head (RFC 9110, 6.5.1).
fn cleanse_trailers(exchange: &Exchange, down: &mut Downstream) {
    let has_trailers = match &down.body {
        Body::Empty | Body::Fixed(_) => false,
        // HTTP/1 has no place for them behind a body of known length.
        Body::H1(reader) => !matches!(reader.length(), Length::Exact(_)),
        Body::H2(_) | Body::Kept(_) => true,
    };
    if has_trailers {
        let names = certified::reserved(exchange).chain(authorize::reserved(exchange));
        down.pump
            .reserved
            .extend(names.map(|name| name.as_bytes().into()));
    }
}

/// Adds to the head of a request what its endpoint is told of the client, and leaves out what the client may not say.
pub fn write_upstream(exchange: &Exchange, omit: &mut Vec<Vec<u8>>, extra: &mut Fields) {
    if let Some(entry) = &exchange.entry {
        entry.write_upstream(omit, extra);
    }
}

/// Adds to the head of an answer what the client is told of how it was judged.
pub fn write_downstream(exchange: &Exchange, extra: &mut Fields) {
    if let Some(entry) = &exchange.entry {
        push(&entry.downstream, extra);
        limited::tell(exchange, &entry.limited, extra);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_last_is_what_is_told() {
        let mut entry = Entry::default();
        entry.tell([
            Field::new(b"X-User", b"CN=ann"),
            Field::new(b"X-Else", b"1"),
        ]);
        let groups = [b"a", b"b"].map(|group| Field::new(b"X-Groups", group));
        entry.tell_all(groups.to_vec());
        entry.tell([Field::new(b"x_user", b"ann")]);
        let told = entry.upstream.iter().map(|field| &*field.value);
        assert_eq!(told.collect::<Vec<_>>(), [&b"1"[..], b"a", b"b", b"ann"]);
    }

    #[test]
    fn what_the_client_says_gives_way_to_what_is_known_of_it() {
        let entry = Entry {
            omitted: vec![b"x-groups"[..].into()],
            upstream: vec![Field::new(b"x-user", b"ann")],
            ..Entry::default()
        };
        let (mut omit, mut extra) = (Vec::new(), Fields::default());
        entry.write_upstream(&mut omit, &mut extra);
        assert_eq!(omit, [b"x-groups".to_vec(), b"x-user".to_vec()]);
        let told: Vec<_> = extra
            .iter()
            .map(|(_, name, value)| (name.to_vec(), value.to_vec()))
            .collect();
        assert_eq!(told, [(b"x-user".to_vec(), b"ann".to_vec())]);
    }
}
