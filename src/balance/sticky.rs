//! Sessions bound to an endpoint by a signed cookie, and how a cookie is given to a client.
//!
//! The cookie says which endpoint and until when, and nobody without the secret can write one or tell
//! from it which endpoint it is. The proxy stores nothing: every proxy that has the secret reads the
//! cookies of all. Its value is 33 bytes in base64url (RFC 4648, 5), which makes 44 letters without a
//! spare bit, so that there is one spelling of each:
//!
//! | bytes | |
//! |---|---|
//! | 1 | version, 1 |
//! | 8 | identity of the endpoint, masked |
//! | 8 | expiry in seconds since 1970 |
//! | 16 | tag: the first half of HMAC-SHA-256 over version, identity, expiry and scope |
//!
//! The identity is a plain hash of a name that is likely an address of a private network, of which there
//! are few enough to try them all. So it is masked by an HMAC of the tag, as SIV does (RFC 5297): the
//! tag is of the clear text and serves as the nonce.
//!
//! Not here: where a session goes whose endpoint is gone ([`crate::balance`] picks anew, and the answer
//! carries the new cookie).

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;

use crate::asked::{Asked, each_cookie};

/// The sessions of one upstream.
#[derive(Debug, Clone)]
pub struct Sticky {
    cookie: SessionCookie,
    /// Others may be put there while it is used.
    secrets: Arc<ArcSwap<Secrets>>,
    scope: u64,
}

/// The cookie that carries a session, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionCookie {
    /// A token of RFC 9110, 5.6.2.
    pub name: Box<str>,
    /// Below which path the client sends it; without control characters and `;`.
    pub path: Box<str>,
    /// For how long a session is bound; counted in whole seconds, rounded up.
    pub ttl: Duration,
    /// From which sites it is sent along.
    pub same_site: SameSite,
}

/// What cookies are signed with: the first seals, all open, so that a secret is replaced by putting
/// the new one second everywhere, then first, and taking the old one away when the ttl is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Secrets {
    sealing: Secret,
    earlier: Vec<Secret>,
}

#[derive(Debug, Clone)]
struct Secret(hmac::Key);

impl PartialEq for Secret {
    /// Two secrets that give the same tag are one.
    fn eq(&self, other: &Self) -> bool {
        self.tag(0, 0, 0) == other.tag(0, 0, 0)
    }
}

/// A session that a cookie proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// Of the endpoint.
    pub identity: u64,
    /// More than half of its time is over, or it has more left than is granted now: the answer should
    /// carry a new cookie.
    pub is_due: bool,
}

/// Why a cookie counts for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is none of ours by its form.
    #[error("the session cookie is malformed")]
    Malformed,
    /// It was changed, or sealed with another secret or for another upstream.
    #[error("the session cookie is forged or foreign")]
    Forged,
    /// Its time is over.
    #[error("the session cookie has expired")]
    Expired,
}

const VERSION: u8 = 1;
const IDENTITY: std::ops::Range<usize> = 1..9;
const EXPIRY: std::ops::Range<usize> = 9..17;
const TAG: std::ops::Range<usize> = 17..33;

const TOKEN_BYTES: usize = 33;
const TOKEN_LETTERS: usize = TOKEN_BYTES / 3 * 4;

/// How many cookies of the name are looked at: checking one takes longer than reading it, and a client
/// can send hundreds.
const MOST_TRIED: usize = 4;

impl Sticky {
    /// `scope` is a hash of the upstream's name: sessions of another upstream are foreign even under
    /// the same secret.
    pub fn new(cookie: SessionCookie, secrets: Secrets, scope: u64) -> Self {
        Self::following(cookie, Arc::new(ArcSwap::from_pointee(secrets)), scope)
    }

    /// The same with secrets that may be exchanged.
    pub fn following(cookie: SessionCookie, secrets: Arc<ArcSwap<Secrets>>, scope: u64) -> Self {
        Self {
            cookie,
            secrets,
            scope,
        }
    }

    /// The cookie's value that binds a session to this endpoint, from `now_unix` seconds on.
    pub fn seal(&self, identity: u64, now_unix: u64) -> [u8; TOKEN_LETTERS] {
        let secrets = self.secrets.load();
        let secret = &secrets.sealing;
        let expiry = now_unix.saturating_add(whole_seconds(self.cookie.ttl));
        let tag = secret.tag(identity, expiry, self.scope);
        let mut token = [VERSION; TOKEN_BYTES];
        token[IDENTITY].copy_from_slice(&(identity ^ secret.mask(&tag)).to_be_bytes());
        token[EXPIRY].copy_from_slice(&expiry.to_be_bytes());
        token[TAG].copy_from_slice(&tag);
        encode(&token)
    }

    /// Reads a cookie's value. The time that it takes does not tell how much of a tag is right.
    pub fn open(&self, value: &[u8], now_unix: u64) -> Result<Bound, Refused> {
        let token = decode(value).ok_or(Refused::Malformed)?;
        if token[0] != VERSION {
            return Err(Refused::Malformed);
        }
        let (masked, expiry) = (number(&token[IDENTITY]), number(&token[EXPIRY]));
        let tag = &token[TAG];
        let opened = |secret: &Secret| {
            let identity = masked ^ secret.mask(tag);
            let expected = secret.tag(identity, expiry, self.scope);
            verify_slices_are_equal(&expected, tag)
                .is_ok()
                .then_some(identity)
        };
        let secrets = self.secrets.load();
        let identity = secrets.all().find_map(opened).ok_or(Refused::Forged)?;
        if expiry <= now_unix {
            return Err(Refused::Expired);
        }
        let (left, ttl) = (expiry - now_unix, whole_seconds(self.cookie.ttl));
        let is_due = left < ttl.div_ceil(2) || left > ttl;
        Ok(Bound { identity, is_due })
    }

    /// The session of a request: of the cookies of the name the first that opens, else why the first
    /// does not; `None` when there is none. Looks at the first four.
    pub fn find(&self, asked: &impl Asked, now_unix: u64) -> Option<Result<Bound, Refused>> {
        let mut found = None;
        let mut tried = 0;
        each_cookie(asked, &self.cookie.name, &mut |value| {
            if tried == MOST_TRIED || matches!(found, Some(Ok(_))) {
                return;
            }
            tried += 1;
            let opened = self.open(value, now_unix);
            if opened.is_ok() || found.is_none() {
                found = Some(opened);
            }
        });
        found
    }

    /// The value of `Set-Cookie` that binds the client to this endpoint. `is_tls`: the client's
    /// connection is TLS.
    pub fn set_cookie(&self, identity: u64, now_unix: u64, is_tls: bool) -> Vec<u8> {
        let cookie = SetCookie {
            name: &self.cookie.name,
            value: &self.seal(identity, now_unix),
            path: &self.cookie.path,
            ttl: Some(self.cookie.ttl),
            same_site: self.cookie.same_site,
            is_tls,
        };
        cookie.written()
    }
}

impl Secrets {
    /// Of bytes that nobody can guess; 32 of them at random are as strong as the HMAC.
    pub fn new(sealing: &[u8], earlier: &[&[u8]]) -> Self {
        Self {
            sealing: Secret::new(sealing),
            earlier: earlier.iter().map(|secret| Secret::new(secret)).collect(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Secret> {
        std::iter::once(&self.sealing).chain(&self.earlier)
    }
}

impl Secret {
    fn new(bytes: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// Half of the HMAC: 128 bits, which nobody finds by trying (RFC 2104, 5).
    fn tag(&self, identity: u64, expiry: u64, scope: u64) -> [u8; 16] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&[VERSION]);
        for part in [identity, expiry, scope] {
            context.update(&part.to_be_bytes());
        }
        let mut half = [0; 16];
        half.copy_from_slice(&context.sign().as_ref()[..16]);
        half
    }

    /// Cannot be the HMAC of a tag's input: that begins with the version.
    fn mask(&self, tag: &[u8]) -> u64 {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"mask");
        context.update(tag);
        number(&context.sign().as_ref()[..8])
    }
}

/// Eight bytes, the highest first.
fn number(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

fn encode(token: &[u8; TOKEN_BYTES]) -> [u8; TOKEN_LETTERS] {
    let mut text = [0; TOKEN_LETTERS];
    let (threes, fours) = (token.as_chunks::<3>().0, text.as_chunks_mut::<4>().0);
    for (three, four) in threes.iter().zip(fours) {
        let bits = three
            .iter()
            .fold(0, |bits, &byte| bits << 8 | usize::from(byte));
        *four = [18, 12, 6, 0].map(|shift| LETTERS[bits >> shift & 63]);
    }
    text
}

fn decode(text: &[u8]) -> Option<[u8; TOKEN_BYTES]> {
    let text: &[u8; TOKEN_LETTERS] = text.try_into().ok()?;
    let mut token = [0; TOKEN_BYTES];
    let (threes, fours) = (token.as_chunks_mut::<3>().0, text.as_chunks::<4>().0);
    for (three, four) in threes.iter_mut().zip(fours) {
        let mut bits = 0u32;
        for &letter in four {
            bits = bits << 6 | u32::from(value_of(letter)?);
        }
        // The lower 24 bits are all there are.
        let [_, bytes @ ..] = bits.to_be_bytes();
        *three = bytes;
    }
    Some(token)
}

fn value_of(letter: u8) -> Option<u8> {
    match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    }
}

/// From which sites a browser sends a cookie along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Its own, and links that lead there.
    Lax,
    /// Its own.
    Strict,
    /// Any; browsers take such a cookie only with `Secure`, so it is always sent with that.
    None,
}

/// A cookie that a client is given.
pub(super) struct SetCookie<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a [u8],
    pub(super) path: &'a str,
    /// `None`: until the client is closed.
    pub(super) ttl: Option<Duration>,
    pub(super) same_site: SameSite,
    /// The client's connection is TLS, and the cookie shall travel over nothing less.
    pub(super) is_tls: bool,
}

impl SetCookie<'_> {
    /// The value of `Set-Cookie` (RFC 6265, 4.1). Scripts of the page cannot read the cookie.
    pub(super) fn written(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        out.extend_from_slice(self.name.as_bytes());
        out.push(b'=');
        out.extend_from_slice(self.value);
        out.extend_from_slice(b"; Path=");
        out.extend_from_slice(self.path.as_bytes());
        if let Some(ttl) = self.ttl {
            out.extend_from_slice(b"; Max-Age=");
            let seconds = whole_seconds(ttl);
            out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
        }
        out.extend_from_slice(match self.same_site {
            SameSite::Lax => b"; HttpOnly; SameSite=Lax".as_slice(),
            SameSite::Strict => b"; HttpOnly; SameSite=Strict",
            SameSite::None => b"; HttpOnly; SameSite=None",
        });
        if self.is_tls || self.same_site == SameSite::None {
            out.extend_from_slice(b"; Secure");
        }
        out
    }
}

/// Rounded up, and at least 1: `Max-Age=0` would delete the cookie.
pub(super) fn whole_seconds(ttl: Duration) -> u64 {
    let begun = u64::from(ttl.subsec_nanos() > 0);
    ttl.as_secs().saturating_add(begun).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;
    const TTL: u64 = 3600;

    fn cookie() -> SessionCookie {
        SessionCookie {
            name: "plimsoll".into(),
            path: "/".into(),
            ttl: Duration::from_secs(TTL),
            same_site: SameSite::Lax,
        }
    }

    fn sticky(sealing: &[u8], earlier: &[&[u8]], scope: u64) -> Sticky {
        Sticky::new(cookie(), Secrets::new(sealing, earlier), scope)
    }

    /// A request with these lines of cookies.
    struct Cookies(Vec<String>);

    impl Asked for Cookies {
        fn client_ip(&self) -> Option<std::net::IpAddr> {
            None
        }
        fn host(&self) -> Option<&[u8]> {
            None
        }
        fn path(&self) -> &[u8] {
            b"/"
        }
        fn query(&self) -> Option<&[u8]> {
            None
        }
        fn each_header(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
            assert_eq!(name, "cookie");
            for line in &self.0 {
                each(line.as_bytes());
            }
        }
    }

    fn text(value: &[u8]) -> &str {
        std::str::from_utf8(value).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn what_was_sealed_opens(identity: u64, scope: u64, now in 0..u64::MAX - TTL) {
            let sticky = sticky(b"secret", &[], scope);
            let opened = sticky.open(&sticky.seal(identity, now), now);
            prop_assert_eq!(opened, Ok(Bound { identity, is_due: false }));
        }

        #[test]
        fn every_flipped_bit_is_refused(identity: u64) {
            let sticky = sticky(b"secret", &[], 1);
            let sealed = sticky.seal(identity, NOW);
            for bit in 0..sealed.len() * 8 {
                let mut forged = sealed;
                forged[bit / 8] ^= 1 << (bit % 8);
                let refused = sticky.open(&forged, NOW);
                prop_assert!(matches!(refused, Err(Refused::Malformed | Refused::Forged)));
            }
            // And of the bytes beneath the letters.
            let token = decode(&sealed).unwrap();
            for bit in 0..token.len() * 8 {
                let mut forged = token;
                forged[bit / 8] ^= 1 << (bit % 8);
                let refused = sticky.open(&encode(&forged), NOW);
                let expected = if bit < 8 { Refused::Malformed } else { Refused::Forged };
                prop_assert_eq!(refused, Err(expected));
            }
        }

        #[test]
        fn garbage_is_refused(
            value in prop::collection::vec(any::<u8>(), 0..64),
            letters in "[A-Za-z0-9_-]{44}",
        ) {
            let sticky = sticky(b"secret", &[b"earlier"], 1);
            prop_assert!(sticky.open(&value, NOW).is_err());
            prop_assert!(sticky.open(letters.as_bytes(), NOW).is_err());
        }

        #[test]
        fn letters_are_read_back(token: [u8; TOKEN_BYTES]) {
            prop_assert_eq!(decode(&encode(&token)), Some(token));
        }
    }

    #[test]
    fn letters_are_those_of_base64url() {
        // In plain base64 these are `+/+/` and `TWFu`.
        let mut token = [0; TOKEN_BYTES];
        token[..6].copy_from_slice(&[0xFB, 0xFF, 0xBF, b'M', b'a', b'n']);
        assert_eq!(&encode(&token)[..12], b"-_-_TWFuAAAA");
    }

    #[test]
    fn a_session_ends_with_its_last_second() {
        let sticky = sticky(b"secret", &[], 1);
        let sealed = sticky.seal(7, NOW);
        assert!(sticky.open(&sealed, NOW + TTL - 1).is_ok());
        assert_eq!(sticky.open(&sealed, NOW + TTL), Err(Refused::Expired));
        assert_eq!(sticky.open(&sealed, u64::MAX), Err(Refused::Expired));
        // A clock at its end neither wraps nor panics.
        assert!(sticky.open(&sticky.seal(7, u64::MAX), NOW).is_ok());
    }

    #[test]
    fn a_session_is_due_after_half_of_its_time_or_when_less_is_granted_now() {
        let sticky = sticky(b"secret", &[], 1);
        let sealed = sticky.seal(7, NOW);
        let is_due = |sticky: &Sticky, now| sticky.open(&sealed, now).map(|bound| bound.is_due);
        assert_eq!(is_due(&sticky, NOW + TTL / 2), Ok(false));
        assert_eq!(is_due(&sticky, NOW + TTL / 2 + 1), Ok(true));
        let shorter = SessionCookie {
            ttl: Duration::from_secs(TTL - 1),
            ..cookie()
        };
        let shorter = Sticky::new(shorter, Secrets::new(b"secret", &[]), 1);
        assert_eq!(is_due(&shorter, NOW), Ok(true));
        assert_eq!(is_due(&shorter, NOW + 1), Ok(false));
    }

    #[test]
    fn foreign_cookies_are_refused_and_earlier_secrets_still_open() {
        let old = sticky(b"old", &[], 1).seal(7, NOW);
        let bound = Ok(Bound {
            identity: 7,
            is_due: false,
        });
        assert_eq!(sticky(b"new", &[], 1).open(&old, NOW), Err(Refused::Forged));
        assert_eq!(sticky(b"old", &[], 2).open(&old, NOW), Err(Refused::Forged));
        let rotated = sticky(b"new", &[b"older", b"old"], 1);
        assert_eq!(rotated.open(&old, NOW), bound);
        let sealed = rotated.seal(7, NOW);
        assert_eq!(sticky(b"new", &[], 1).open(&sealed, NOW), bound);
        assert_eq!(
            sticky(b"old", &[], 1).open(&sealed, NOW),
            Err(Refused::Forged)
        );
    }

    #[test]
    fn the_identity_is_masked() {
        let sticky = sticky(b"secret", &[], 1);
        let masked = |now| decode(&sticky.seal(7, now)).unwrap()[IDENTITY].to_vec();
        assert_ne!(masked(NOW), 7u64.to_be_bytes());
        assert_ne!(masked(NOW), masked(NOW + 1));
    }

    #[test]
    fn of_several_cookies_the_first_that_opens_counts() {
        let sticky = sticky(b"secret", &[], 1);
        let (seven, eight) = (sticky.seal(7, NOW), sticky.seal(8, NOW));
        let (seven, eight) = (text(&seven), text(&eight));
        let find = |lines: &[String]| {
            let found = sticky.find(&Cookies(lines.to_vec()), NOW);
            found.map(|bound| bound.map(|bound| bound.identity))
        };
        assert_eq!(find(&[]), None);
        assert_eq!(find(&[format!("other={seven}")]), None);
        let lines = [
            format!("a=b; plimsoll=x; plimsoll={seven}"),
            format!("plimsoll={eight}"),
        ];
        assert_eq!(find(&lines), Some(Ok(7)));
        let foreign = self::sticky(b"other", &[], 1).seal(9, NOW);
        let foreign = format!("plimsoll={}; plimsoll=x", text(&foreign));
        assert_eq!(find(&[foreign]), Some(Err(Refused::Forged)));
        let too_many = "plimsoll=x; ".repeat(MOST_TRIED) + &lines[1];
        assert_eq!(find(&[too_many]), Some(Err(Refused::Malformed)));
    }

    #[test]
    fn the_cookie_is_kept_as_long_as_it_binds() {
        let line = sticky(b"secret", &[], 1).set_cookie(7, NOW, true);
        let line = text(&line);
        let (pair, attributes) = line.split_once("; ").unwrap();
        assert_eq!(
            attributes,
            "Path=/; Max-Age=3600; HttpOnly; SameSite=Lax; Secure"
        );
        let request = Cookies(vec![pair.to_owned()]);
        let bound = sticky(b"secret", &[], 1).find(&request, NOW);
        assert_eq!(
            bound.map(|bound| bound.map(|bound| bound.identity)),
            Some(Ok(7))
        );
    }

    #[test]
    fn a_cookie_for_all_sites_is_always_secure() {
        let attributes = |same_site, is_tls| {
            let cookie = SessionCookie {
                same_site,
                ..cookie()
            };
            let sticky = Sticky::new(cookie, Secrets::new(b"secret", &[]), 1);
            let line = sticky.set_cookie(7, NOW, is_tls);
            text(&line).split_once("HttpOnly; ").unwrap().1.to_owned()
        };
        assert_eq!(attributes(SameSite::Strict, false), "SameSite=Strict");
        assert_eq!(attributes(SameSite::None, false), "SameSite=None; Secure");
    }
}
