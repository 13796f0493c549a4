//! What stands at the door of a listener as an operator might write it, by chance.

use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;

use super::values::millis;
use crate::config::schema::*;

fn network() -> impl Strategy<Value = TrustedProxy> {
    any::<Option<[u8; 4]>>().prop_map(|address| {
        address.map_or(TrustedProxy::Unix, |address| {
            TrustedProxy::Network(Network {
                address: address.into(),
                prefix: 32,
            })
        })
    })
}

pub(super) fn addresses() -> impl Strategy<Value = Addresses> {
    // Each address once: what stands in both lists is a mistake.
    proptest::collection::hash_set(network(), 0..5).prop_map(|all| {
        let mut all: Vec<_> = all.into_iter().collect();
        let deny = all.split_off(all.len() / 2);
        Addresses { allow: all, deny }
    })
}

/// What of a configuration stands at the door: PROXY headers, lists of addresses, caps.
pub(super) fn door()
-> impl Strategy<Value = (ProxyProtocolIn, Addresses, Option<usize>, AddressPrefix)> {
    let others = select(vec![
        ProxyProtocolOthers::Plain,
        ProxyProtocolOthers::Refuse,
    ]);
    let from = (vec(network(), 1..3), others);
    let from = from.prop_map(|(from, others)| ProxyProtocolFrom { from, others });
    let told = prop_oneof![
        Just(ProxyProtocolIn::Off),
        Just(ProxyProtocolIn::Require),
        from.prop_map(ProxyProtocolIn::From),
    ];
    let prefix = (1_u8..=32, 1_u8..=128).prop_map(|(v4, v6)| AddressPrefix { v4, v6 });
    (told, addresses(), of(1_usize..1000), prefix)
}

pub(super) fn server_tls() -> impl Strategy<Value = ServerTls> {
    let facts = [
        ClientFact::Subject,
        ClientFact::Names,
        ClientFact::Certificate,
    ];
    let modes = [ClientAuthMode::Require, ClientAuthMode::Optional];
    let header = btree_map("X-[A-Z][a-z-]{0,6}", select(facts.to_vec()), 0..3);
    let client = ("[a-z ]{1,6}", select(modes.to_vec()), header);
    let client = client.prop_map(|(ca, mode, header)| ClientAuth {
        ca: ca.into(),
        mode,
        header: header.into_iter().collect(),
    });
    let pair = ("[a-z.]{1,6}", of("[a-z]{1,5}")).prop_map(|(name, ocsp)| Certificate {
        cert: name.clone().into(),
        key: name.into(),
        ocsp: ocsp.map(Into::into),
    });
    let warning = of(millis(3_600_000, 315_360_000_000));
    let alpn = select(vec![
        vec![Alpn::H2, Alpn::Http11],
        vec![Alpn::Http11],
        vec![Alpn::H2],
    ]);
    let versions = (select(vec![TlsVersion::V1_2, TlsVersion::V1_3]), alpn);
    let others = (any::<bool>(), 1_usize..=10_000, warning, versions);
    (vec(pair, 1..3), of(client), others).prop_map(|(certificates, client, others)| {
        let (sni_matches_host, handshakes, expiry_warning, (min_version, alpn)) = others;
        ServerTls {
            client,
            sni_matches_host,
            handshakes,
            expiry_warning,
            min_version,
            alpn,
            ..ServerTls::new(certificates)
        }
    })
}
