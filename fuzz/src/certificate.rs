//! Certificates and OCSP responses: whatever comes is refused, or told in words that can end no field.

use plimsoll::tls::{Facts, Identity, staple};

/// A certificate for whose serial number responses are read.
const NAMED: &[u8] = include_bytes!("../seeds/certificate/names");

pub fn run(data: &[u8]) {
    if let Some(facts) = Facts::of(data) {
        let mut told = vec![facts.subject.to_string(), facts.issuer.to_string()];
        told.push(facts.serial());
        told.extend(facts.names.iter().map(ToString::to_string));
        for text in &told {
            assert!(
                text.bytes().all(|byte| (0x20..0x7f).contains(&byte)),
                "{text:?}"
            );
        }
        // A comma stands between names, never in one.
        assert!(!told[3..].iter().any(|name| name.contains(',')), "{told:?}");
        if let Some(identity) = Identity::of(&data.into()) {
            assert_eq!(*identity.subject, told[0]);
            assert_eq!(*identity.names, told[3..].join(","));
            let certificate = identity.certificate();
            assert_eq!(certificate.len(), data.len().div_ceil(3) * 4 + 2);
        }
        // A certificate that is read is read again the same.
        assert_eq!(
            Facts::of(data).map(|again| again.subject),
            Some(facts.subject)
        );
    }
    let named = Facts::of(NAMED).expect("the seed is a certificate");
    let _ = staple(data, &named);
}
