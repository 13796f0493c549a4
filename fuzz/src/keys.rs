//! What a request says of who it is, and what it is counted or hashed by: cookies, parameters, credentials, keys.

use std::net::IpAddr;

use arbitrary::{Arbitrary, Unstructured};
use plimsoll::asked::{Asked, HOST_BYTES, each_cookie, host_name, parameter};
use plimsoll::attempt::idempotency::key;
use plimsoll::balance::HashKey;
use plimsoll::limit::auth::claim::{self, Unclaimed};
use plimsoll::limit::auth::password::Hash;
use plimsoll::limit::auth::{Keys, Users};

#[derive(Debug, Arbitrary)]
struct Drawn<'a> {
    name: &'a [u8],
    host: &'a [u8],
    target: &'a [u8],
    values: Vec<&'a [u8]>,
    file: &'a str,
}

/// A request of these values under every name.
struct Of<'a>(&'a Drawn<'a>);

impl Asked for Of<'_> {
    fn client_ip(&self) -> Option<IpAddr> {
        None
    }

    fn host(&self) -> Option<&[u8]> {
        Some(self.0.host)
    }

    fn path(&self) -> &[u8] {
        self.0.target
    }

    fn query(&self) -> Option<&[u8]> {
        Some(self.0.target)
    }

    fn each_header(&self, _: &str, each: &mut dyn FnMut(&[u8])) {
        self.0.values.iter().for_each(|value| each(value));
    }
}

pub fn run(data: &[u8]) {
    let Ok(drawn) = Drawn::arbitrary_take_rest(Unstructured::new(data)) else {
        return;
    };
    credentials(&drawn);
    taken(&drawn);
    hashed(&drawn);
    files(&drawn);
}

fn credentials(drawn: &Drawn<'_>) {
    let values = || drawn.values.iter().copied();
    match claim::login(values()) {
        Ok(login) => {
            assert_eq!(drawn.values.len(), 1);
            assert!(!login.user.contains(&b':'));
            let shown = format!("{login:?}");
            let password = String::from_utf8_lossy(&login.password);
            let user = format!("{:?}", String::from_utf8_lossy(&login.user));
            assert!(password.len() < 8 || user.contains(&*password) || !shown.contains(&*password));
        }
        Err(Unclaimed::Malformed) => assert!(!drawn.values.is_empty()),
        Err(Unclaimed::Absent) => assert!(drawn.values.len() < 2),
    }
    for is_bearer in [false, true] {
        if let Ok(key) = claim::key(values(), is_bearer) {
            assert!(!key.is_empty() && drawn.values.len() == 1);
        }
    }
    let _ = key::read(values(), 64);
}

/// A key that was taken out of a target is nowhere in it any more.
fn taken(drawn: &Drawn<'_>) {
    let mut target = drawn.target.to_vec();
    let taken = claim::take_parameter(&mut target, drawn.name);
    if let Ok(value) = &taken {
        assert!(!value.is_empty());
    }
    assert!(target.len() <= drawn.target.len());
    let mut again = target.clone();
    let absent = claim::take_parameter(&mut again, drawn.name);
    assert_eq!(absent, Err(Unclaimed::Absent));
    assert_eq!(again, target);
    let is_plain = !drawn.name.iter().any(|byte| matches!(byte, b'%' | b'+'));
    if let Some(mark) = target.iter().position(|byte| *byte == b'?')
        && is_plain
    {
        assert!(parameter(&target[mark + 1..], drawn.name).is_none());
    }
}

fn hashed(drawn: &Drawn<'_>) {
    let asked = Of(drawn);
    let mut buffer = [0; HOST_BYTES];
    if let Some(name) = host_name(drawn.host, &mut buffer) {
        assert!(!name.is_empty() && !name.iter().any(u8::is_ascii_uppercase));
    }
    let Ok(name) = std::str::from_utf8(drawn.name) else {
        return;
    };
    each_cookie(&asked, name, &mut |value| assert!(!value.contains(&b';')));
    for hash_key in [
        HashKey::Host,
        HashKey::Path,
        HashKey::header(name),
        HashKey::query(name),
        HashKey::cookie(name, None),
    ] {
        let (first, second) = (hash_key.of(&asked), hash_key.of(&asked));
        assert_eq!(first, second);
    }
}

fn files(drawn: &Drawn<'_>) {
    if let Err((line, fault)) = Users::read(drawn.file, [0; 32]) {
        assert!(line > 0 && !fault.to_string().is_empty());
    }
    if let Ok(keys) = Keys::read(drawn.file) {
        assert!(keys.count() <= drawn.file.lines().count());
    }
    if let Ok(hash) = Hash::read(drawn.file) {
        assert_eq!(Hash::read(&hash.to_string()), Ok(hash));
    }
}
