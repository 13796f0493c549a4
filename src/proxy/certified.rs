//! Judges a client by what its TLS connection shows: the name that it asked for, its certificate.

use super::entry::Field;
use super::error::ProxyError;
use super::exchange::Exchange;
use crate::config::ClientFact;
use crate::http::fields::{Fields, Name, is_read_as};
use crate::http::target;
use crate::snapshot::Certified;
use crate::tls::Identity;

/// By the rules of the listener.
///
/// 1. The host must be the one that the connection asked for. 2. What the client says where only the proxy may is taken out,
///    before anybody looks at it. 3. Endpoints are told who it is.
pub fn judge(exchange: &mut Exchange) -> Result<(), ProxyError> {
    let listener = &exchange.listener.shared;
    let Some(rules) = &listener.certified else {
        return Ok(());
    };
    // 1.
    if rules.sni_matches_host
        && let Some(sni) = &exchange.peer.sni
        && !is_same_host(sni, exchange.head.fields.get(Name::Host))
    {
        return Err(ProxyError::Misdirected);
    }
    // 2.
    take_out(rules, &mut exchange.head.fields);
    // 3.
    if let Some(identity) = &exchange.peer.identity {
        let told = rules.told.iter();
        let told = told.map(|(name, fact)| Field::new(name.as_bytes(), &value(identity, *fact)));
        let entry = exchange.entry.get_or_insert_default();
        entry.identity = Some(identity.subject.clone());
        entry.tell_all(told.collect());
    }
    Ok(())
}

/// Whether a request for `host` belongs on a connection that asked for `sni`. The port plays no part in it.
fn is_same_host(sni: &str, host: Option<&[u8]>) -> bool {
    let mut buffer = Vec::new();
    target::host(host.unwrap_or_default(), &mut buffer).is_ok_and(|host| host == sni.as_bytes())
}

/// Names by which only the proxy may say who a client is.
pub fn reserved(exchange: &Exchange) -> impl Iterator<Item = &str> {
    let rules = exchange.listener.shared.certified.as_ref().into_iter();
    rules.flat_map(|rules| rules.reserved.iter().map(String::as_str))
}

fn take_out(rules: &Certified, fields: &mut Fields) {
    if rules.reserved.is_empty() {
        return;
    }
    fields.remove_if(|_, spelt, _| {
        let mut reserved = rules.reserved.iter();
        reserved.any(|name| is_read_as(spelt, name.as_bytes()))
    });
}

fn value(identity: &Identity, fact: ClientFact) -> Vec<u8> {
    let text = match fact {
        ClientFact::Subject => &identity.subject,
        ClientFact::Issuer => &identity.issuer,
        ClientFact::Serial => &identity.serial,
        ClientFact::Names => &identity.names,
        ClientFact::Sha256 => &identity.sha256,
        ClientFact::Certificate => return identity.certificate(),
    };
    // A field's value neither begins nor ends with white space (RFC 9110, 5.5); in a name it is escaped there.
    text.trim().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_its_port_and_in_any_case() {
        for (host, same) in [
            ("a.test", true),
            ("A.Test:8443", true),
            ("a.test.", true),
            ("b.test", false),
            ("a.test.b", false),
            ("", false),
        ] {
            assert_eq!(
                is_same_host("a.test", Some(host.as_bytes())),
                same,
                "{host}"
            );
        }
        assert!(!is_same_host("a.test", None));
    }

    #[test]
    fn what_could_be_read_as_a_reserved_field_is_taken_out() {
        let rules = Certified {
            reserved: vec!["X-Client-Subject".to_owned()],
            ..Certified::default()
        };
        let mut fields = Fields::default();
        for name in [
            "x-client-subject",
            "X_CLIENT-subject",
            "X-Client-Subject2",
            "Accept",
        ] {
            fields.push(name.as_bytes(), b"v");
        }
        take_out(&rules, &mut fields);
        let left: Vec<_> = fields.iter().map(|(_, spelt, _)| spelt.to_vec()).collect();
        assert_eq!(left, [b"X-Client-Subject2".to_vec(), b"Accept".to_vec()]);
    }
}
