//! Tests: what must hold for any text and any configuration.

mod doors;
mod entering;
mod keyed;
mod limiters;
mod routes;
mod upstreams;
mod values;
mod written;

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::read::from_text;
use super::reference::{render, to_yaml};
use super::schema::*;
use super::units::{Decimal, Share, format_duration, format_size, parse_duration, parse_size};
use crate::clock::Clock;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_printed_configuration_reads_back(config in written::config()) {
        let text = to_yaml(&config);
        let loaded = from_text("printed", &text, &|_| None)
            .map_err(|refusal| TestCaseError::fail(format!("{refusal}\n{text}")))?;
        prop_assert_eq!(loaded.config, config, "{}", text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
        let _ = from_text("x", &text, &|_| None);
    }

    #[test]
    fn no_yaml_like_text_makes_the_reader_panic(
        parts in vec("(listeners|routes|upstreams|match|a|: |:\n  |- |\\{|\\}|\\[|\\]|, |\n|\n  |&a |\\*a|<<|\"|'|\\||\\?|!x |#|~|\\$\\{A\\}|10s|é|\t)", 0..40)
    ) {
        let text: String = parts.concat();
        if let Err(refusal) = from_text("x", &text, &|_| Some("v".to_owned())) {
            prop_assert!(refusal.errors() > 0);
        }
    }

    #[test]
    fn no_damage_to_a_valid_file_makes_the_reader_panic(cut in 0_usize..20_000, length in 0_usize..40, insert in "\\PC{0,4}") {
        let mut characters: Vec<char> = render().chars().collect();
        let start = cut.min(characters.len());
        let end = (start + length).min(characters.len());
        characters.splice(start..end, insert.chars());
        let text: String = characters.into_iter().collect();
        if let Err(refusal) = from_text("x", &text, &|_| None) {
            let lines = text.lines().count() as u32;
            prop_assert!(refusal.diagnostics.iter().all(|diagnostic| diagnostic.line <= lines + 1));
        }
    }

    #[test]
    fn durations_read_back(seconds in any::<u32>(), nanos in 0_u32..1_000_000_000, coarse in 0_usize..4) {
        let unit = [1, 1_000, 1_000_000, 1_000_000_000][coarse];
        let duration = Duration::new(seconds.into(), nanos / unit * unit);
        prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
    }

    #[test]
    fn sizes_read_back(bytes in any::<u64>(), shift in 0_u32..64) {
        let bytes = bytes >> shift << (shift / 2);
        prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
    }

    #[test]
    fn shares_read_back(millionths in 0_u32..=1_000_000) {
        let share = Share { millionths };
        prop_assert_eq!(share.to_string().parse(), Ok(share));
    }

    #[test]
    fn decimals_read_back(thousandths in any::<u32>()) {
        let number = Decimal { thousandths };
        prop_assert_eq!(number.to_string().parse(), Ok(number));
    }

    #[test]
    fn networks_read_back_and_hold_their_address(bits in any::<u128>(), prefix in 0_u8..=128, four in any::<bool>()) {
        let address: std::net::IpAddr = if four {
            std::net::Ipv4Addr::from_bits(bits as u32).into()
        } else {
            std::net::Ipv6Addr::from_bits(bits).into()
        };
        let prefix = if four { prefix % 33 } else { prefix };
        let network: Network = match format!("{address}/{prefix}").parse() {
            Ok(network) => network,
            Err(super::units::UnitError::HostBits(network)) => network,
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        };
        prop_assert!(network.contains(address));
        prop_assert_eq!(network.to_string().parse(), Ok(network));
    }

    #[test]
    fn addresses_read_back(bits in any::<u128>(), port in any::<u16>()) {
        let address = Address::Tcp((std::net::Ipv6Addr::from_bits(bits), port).into());
        prop_assert_eq!(address.to_string().parse(), Ok(address));
    }

    #[test]
    fn no_text_makes_a_unit_panic(text in "\\PC{0,30}|[0-9.%/:a-zA-Z\\[\\]]{0,30}") {
        let _ = (parse_duration(&text), parse_size(&text), text.parse::<Share>(), text.parse::<Decimal>());
        let _ = (text.parse::<Network>(), text.parse::<Address>(), text.parse::<super::units::Target>());
    }
}

#[test]
fn a_thousand_endpoints_are_checked_at_once() {
    let mut text = "listeners: { web: { address: '127.0.0.1:80' } }\nroutes: [{ upstream: a }]\nupstreams:\n  a:\n    endpoints:\n".to_owned();
    for index in 0..1000 {
        text.push_str(&format!(
            "      - {{ address: \"10.0.{}.{}:80\", weight: 2, id: e{index} }}\n",
            index / 250,
            index % 250
        ));
    }
    let clock = Clock::system();
    let start = clock.now();
    let loaded = from_text("x", &text, &|_| None).unwrap();
    let taken = clock.now().since(start);
    assert_eq!(loaded.config.upstreams["a"].endpoints.len(), 1000);
    // Only an optimised build is held to the promise.
    assert!(
        cfg!(debug_assertions) || taken < Duration::from_millis(50),
        "took {taken:?}"
    );
}

#[test]
fn anchors_and_merges_share_what_is_equal() {
    let text = "\
listeners: { web: { address: '127.0.0.1:80' } }
routes: [{ split: { a: 1, b: 1 } }]
upstreams:
  a: &a
    endpoints: ['h:1']
    timeouts: &t { connect: 2s }
  b:
    <<: *a
    endpoints: ['h:2']
";
    let upstreams = from_text("x", text, &|_| None).unwrap().config.upstreams;
    assert_eq!(upstreams["b"].endpoints, [Endpoint::new("h:2")]);
    assert_eq!(upstreams["b"].timeouts.connect, Duration::from_secs(2));
}

#[test]
fn marks_and_line_ends_of_other_systems_are_read() {
    let text = "\u{feff}listeners:\r\n  web: { address: '127.0.0.1:80' }\r\nroutes:\r\n  - respond: {}\r\n";
    assert_eq!(
        from_text("x", text, &|_| None).unwrap().config.routes.len(),
        1
    );
}

#[test]
fn ten_thousand_routes_and_upstreams_are_read() {
    let mut text = "listeners: { web: { address: '127.0.0.1:80' } }\nroutes:\n".to_owned();
    for index in 0..10_000 {
        text.push_str(&format!(
            "  - {{ match: {{ host: h{index}.example }}, upstream: u{index} }}\n"
        ));
    }
    text.push_str("upstreams:\n");
    for index in 0..10_000 {
        text.push_str(&format!("  u{index}: {{ endpoints: ['h:1'] }}\n"));
    }
    let loaded = from_text("x", &text, &|_| None).unwrap();
    assert_eq!(
        (loaded.config.routes.len(), loaded.warnings.len()),
        (10_000, 0)
    );
}
