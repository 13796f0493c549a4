//! Switching protocols across versions of HTTP: what the WebSocket handshake of HTTP/1.1 (RFC 6455, 4) is in HTTP/2
//! (RFC 8441, 5), and back. Pure.
//!
//! Not here: who asks whom, and when; see [`crate::proxy::switch`].

use aws_lc_rs::digest;

use super::fields::{Fields, Name};
use super::headers;
use crate::entropy::Random;

/// Appended to a key before hashing (RFC 6455, 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The one protocol whose handshake has more to it than its name.
const WEBSOCKET: &[u8] = b"websocket";

/// A `Sec-WebSocket-Key`: 16 random bytes in base64. It keeps a server that does not know WebSocket from seeming to
/// agree; it need not be secret (RFC 6455, 10.3).
pub type Key = [u8; 24];
/// A `Sec-WebSocket-Accept`: the SHA-1 of the key and a fixed text, in base64.
pub type Accept = [u8; 28];

/// Whether this token names WebSocket.
pub fn is_websocket(protocol: &[u8]) -> bool {
    protocol.eq_ignore_ascii_case(WEBSOCKET)
}

/// Longer names of protocols are nobody's.
const PROTOCOL_BYTES: usize = 64;

/// Whether a client may ask to leave HTTP for this protocol: a name that is one, with a version or without (RFC 9110,
/// 7.8), and not HTTP's own. `h2c` was taken back by RFC 9113, 3.1, and an endpoint that still agrees to it would speak
/// past us. It is written as it stands towards endpoints, so that nothing but such a name may pass, whichever version
/// of HTTP it came in.
pub fn is_protocol(protocol: &[u8]) -> bool {
    let mut parts = protocol.splitn(2, |byte| *byte == b'/');
    let is_http = starts_with(protocol, b"h2") || starts_with(protocol, b"http");
    protocol.len() <= PROTOCOL_BYTES && !is_http && parts.all(is_token)
}

fn starts_with(protocol: &[u8], start: &[u8]) -> bool {
    protocol
        .get(..start.len())
        .is_some_and(|found| found.eq_ignore_ascii_case(start))
}

/// RFC 9110, 5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(is_part)
}

/// The one protocol that an extended CONNECT asks for when `Upgrade` listed these: WebSocket if it is among them, else
/// the first, which is the preferred one (RFC 9110, 7.8).
pub fn single(protocols: &[u8]) -> &[u8] {
    let mut items = headers::items(protocols);
    let first = items.next().unwrap_or_default();
    if is_websocket(first) {
        return first;
    }
    items.find(|item| is_websocket(item)).unwrap_or(first)
}

/// A new key.
pub fn key(random: &mut Random) -> Key {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random.next_u64().to_ne_bytes());
    bytes[8..].copy_from_slice(&random.next_u64().to_ne_bytes());
    let mut key = [0; 24];
    base64(&bytes, &mut key);
    key
}

/// What a server that knows WebSocket answers to a key.
pub fn accept(key: &[u8]) -> Accept {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(GUID);
    let mut accept = [0; 28];
    base64(hash.finish().as_ref(), &mut accept);
    accept
}

/// Whether a 101 with these fields agrees to one of the protocols asked for and, where a key of ours went along, proves
/// to have understood it.
pub fn agrees(fields: &Fields, asked: &[u8], key: Option<&Key>) -> bool {
    let mut agreed = fields.all(Name::Upgrade).flat_map(headers::items);
    let known = agreed.next().is_some_and(|protocol| {
        headers::items(asked).any(|asked| asked.eq_ignore_ascii_case(protocol))
    });
    let proven =
        key.is_none_or(|key| fields.get(Name::SecWebSocketAccept) == Some(&accept(key)[..]));
    known && proven
}

/// Writes base64 with padding (RFC 4648, 4) into exactly as many bytes as it takes.
fn base64(bytes: &[u8], out: &mut [u8]) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (group, out) in bytes.chunks(3).zip(out.chunks_mut(4)) {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | u32::from(group.get(at).copied().unwrap_or(0))
        });
        for (at, letter) in out.iter_mut().enumerate() {
            *letter = if at <= group.len() {
                LETTERS[(bits >> (18 - 6 * at)) as usize & 63]
            } else {
                b'='
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Fields, Random, accept, agrees, base64, key, single};

    #[test]
    fn answers_the_key_of_the_rfc() {
        // RFC 6455, 1.3.
        assert_eq!(
            &accept(b"dGhlIHNhbXBsZSBub25jZQ=="),
            b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn encodes_the_published_vectors() {
        // RFC 4648, 10.
        let vectors = [
            "", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy",
        ];
        for (length, vector) in vectors.iter().enumerate() {
            let mut out = vec![0; vector.len()];
            base64(&b"foobar"[..length], &mut out);
            assert_eq!(out, vector.as_bytes());
        }
    }

    #[test]
    fn keys_differ_and_have_the_length_of_sixteen_bytes() {
        let mut random = Random::seeded(7);
        let keys = [key(&mut random), key(&mut random)];
        assert_ne!(keys[0], keys[1]);
        assert!(keys.iter().all(|key| key.ends_with(b"==")));
    }

    #[test]
    fn of_several_protocols_websocket_is_taken() {
        assert_eq!(single(b"h9, WebSocket"), b"WebSocket");
        assert_eq!(single(b"irc/6.9, rta/x11"), b"irc/6.9");
        assert_eq!(single(b""), b"");
    }

    #[test]
    fn agreement_names_a_protocol_and_proves_the_key() {
        let mut random = Random::seeded(7);
        let key = key(&mut random);
        let mut fields = Fields::default();
        assert!(!agrees(&fields, b"websocket", None));
        fields.push(b"Upgrade", b"WebSocket");
        assert!(agrees(&fields, b"other, websocket", None));
        assert!(!agrees(&fields, b"other", None));
        assert!(!agrees(&fields, b"websocket", Some(&key)));
        fields.push(b"Sec-WebSocket-Accept", &accept(&key));
        assert!(agrees(&fields, b"websocket", Some(&key)));
        assert!(!agrees(
            &fields,
            b"websocket",
            Some(b"dGhlIHNhbXBsZSBub25jZQ==")
        ));
    }
}
