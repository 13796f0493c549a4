//! Leaving HTTP: how a wish to switch protocols is put to an endpoint, whether its answer agrees, and how that is told
//! to the client, whichever versions of HTTP the two speak.
//!
//! | client | endpoint | asked by | agreed by |
//! |---|---|---|---|
//! | 1.1 | 1.1 | the request as it came | 101, passed on |
//! | 2 | 1.1 | GET with `Upgrade`, for WebSocket with a key of ours | 101 with the right answer to the key, told as 200 |
//! | 1.1 | 2 | extended CONNECT | 200, told as 101 with the answer to the client's key |
//! | 2 | 2 | extended CONNECT | 200, passed on |
//!
//! Any other answer is passed on as a normal response. A request that extended CONNECT cannot express (a method other
//! than GET, a body) goes to an HTTP/2 endpoint without the wish, as RFC 9110, 7.8, allows.

use ::http::Method;

use super::error::ProxyError;
use crate::entropy::Random;
use crate::http::body::Sink;
use crate::http::fields::{Fields, Name, Names};
use crate::http::head::{Length, RequestHead, ResponseHead, Version};
use crate::http::upgrade::{self, Key};

/// What an attempt asks for besides an answer.
pub enum Switch {
    /// Nothing.
    No,
    /// `Upgrade` to an HTTP/1.1 endpoint.
    Upgrade {
        /// Ours, where the client has none.
        key: Option<Key>,
    },
    /// Extended CONNECT; the way to the endpoint is kept aside until it agrees.
    Connect(Sink),
}

/// The first line of a request to switch protocols, and what becomes of its fields.
pub struct Ask<'a> {
    pub method: Method,
    pub upgrade: Option<&'a [u8]>,
    pub length: Length,
    pub skip: Names,
    pub key: Option<Key>,
}

impl<'a> Ask<'a> {
    /// How this request is put to an endpoint that speaks HTTP/2, or not.
    pub fn of(head: &'a RequestHead, to_h2: bool, random: &mut Random, extra: &mut Fields) -> Self {
        let mut ask = Self {
            method: head.method.clone(),
            upgrade: head.upgrade.as_deref(),
            length: head.length,
            skip: Names::NONE,
            key: None,
        };
        let Some(protocols) = ask.upgrade else {
            return ask;
        };
        let from_h2 = head.version == Version::Http2;
        match (from_h2, to_h2) {
            (false, true) if head.method == Method::GET && head.length.is_empty() => {
                ask.upgrade = Some(upgrade::single(protocols));
                // RFC 8441, 5: the key has no use in HTTP/2.
                ask.skip = Names::of(&[Name::SecWebSocketKey]);
            }
            (false, true) => ask.upgrade = None,
            (true, false) => {
                ask.method = Method::GET;
                ask.length = Length::Empty;
                if upgrade::is_websocket(protocols) {
                    let key = upgrade::key(random);
                    extra.push_known(Name::SecWebSocketKey, b"sec-websocket-key", &key);
                    if !head.fields.contains(Name::SecWebSocketVersion) {
                        extra.push_known(
                            Name::SecWebSocketVersion,
                            b"sec-websocket-version",
                            b"13",
                        );
                    }
                    ask.skip = Names::of(&[Name::SecWebSocketKey]);
                    ask.key = Some(key);
                }
            }
            (false, false) | (true, true) => {}
        }
        ask
    }
}

impl Switch {
    /// Whether this final answer agrees to the switch.
    pub fn agrees(&self, head: &RequestHead, response: &ResponseHead) -> Result<bool, ProxyError> {
        let is_success = (200..300).contains(&response.status);
        match self {
            Self::No | Self::Connect(_) if response.status == 101 => Err(ProxyError::UnaskedSwitch),
            Self::No => Ok(false),
            Self::Connect(_) => Ok(is_success),
            Self::Upgrade { key } if response.status == 101 => {
                let asked = head.upgrade.as_deref().unwrap_or_default();
                if upgrade::agrees(&response.fields, asked, key.as_ref()) {
                    Ok(true)
                } else {
                    Err(ProxyError::BadUpgrade)
                }
            }
            // The endpoint overlooked the wish; to an extended CONNECT its 200 would mean that it agreed.
            Self::Upgrade { .. } if head.version == Version::Http2 && is_success => {
                Err(ProxyError::BadUpgrade)
            }
            Self::Upgrade { .. } => Ok(false),
        }
    }
}

/// Makes of an agreement in one version of HTTP that of the client's. Gives the fields to leave out.
pub fn translate(head: &RequestHead, response: &mut ResponseHead) -> Names {
    let accept = Names::of(&[Name::SecWebSocketAccept]);
    let answered_in_h2 = response.version == Version::Http2;
    if head.version == Version::Http2 {
        return accept;
    }
    if !answered_in_h2 {
        return Names::NONE;
    }
    let asked = head.upgrade.as_deref().unwrap_or_default();
    let protocol = upgrade::single(asked);
    response
        .fields
        .remove_if(|name, _, _| accept.contains(name));
    response
        .fields
        .push_known(Name::Upgrade, b"upgrade", protocol);
    if upgrade::is_websocket(protocol)
        && let Some(key) = head.fields.get(Name::SecWebSocketKey)
    {
        let accept = upgrade::accept(key);
        response
            .fields
            .push_known(Name::SecWebSocketAccept, b"sec-websocket-accept", &accept);
    }
    Names::NONE
}
