//! What `plimsoll status` says of certificates and of files of those who may enter: nothing, unless somebody has to do something.

use crate::admin::status::{CertificatesStatus, Status};

/// Certificates that have so many days left are named.
const SOON: i64 = 14;

/// A line for each trouble.
pub(super) fn render(status: &Status) -> String {
    let listeners = status.listeners.iter().map(|one| {
        let place = format!("listeners.{}.tls", one.name);
        (place, one.certificates.as_ref())
    });
    let upstreams = status.upstreams.iter().map(|one| {
        let place = format!("upstreams.{}.tls", one.name);
        (place, one.certificates.as_ref())
    });
    let all = listeners.chain(upstreams);
    let certificates = all
        .filter_map(|(place, certificates)| Some((place, certificates?)))
        .flat_map(|(place, certificates)| lines(&place, certificates));
    let credentials = status.credentials.iter().filter_map(|one| {
        let trouble = one.trouble.as_ref()?;
        Some(format!(
            "OLD {} ARE KEPT: {trouble}\n",
            one.what.to_uppercase()
        ))
    });
    certificates.chain(credentials).collect()
}

fn lines(place: &str, certificates: &CertificatesStatus) -> Vec<String> {
    let trouble = certificates.trouble.iter();
    let mut lines: Vec<String> = trouble
        .map(|trouble| format!("{place} KEEPS OLD FILES: {trouble}\n"))
        .collect();
    // The first runs out first.
    if let Some(first) = certificates.shown.first()
        && first.days_left < SOON
    {
        let file = &first.file;
        lines.push(match first.days_left {
            days @ 0.. => format!("{place}: `{file}` RUNS OUT in {days} days\n"),
            -1 => format!("{place}: `{file}` HAS RUN OUT within the last day\n"),
            days => format!("{place}: `{file}` HAS RUN OUT {} days ago\n", -days - 1),
        });
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::CertificateStatus;

    fn status(days_left: i64, trouble: Option<&str>) -> CertificatesStatus {
        CertificatesStatus {
            shown: vec![CertificateStatus {
                file: "a.pem".to_owned(),
                names: Vec::new(),
                expires: 0,
                days_left,
                stapled: false,
            }],
            count: 1,
            trouble: trouble.map(str::to_owned),
        }
    }

    #[test]
    fn only_trouble_is_told() {
        assert!(lines("listeners.web.tls", &status(14, None)).is_empty());
        assert_eq!(
            lines("listeners.web.tls", &status(-3, Some("it is torn"))),
            [
                "listeners.web.tls KEEPS OLD FILES: it is torn\n",
                "listeners.web.tls: `a.pem` HAS RUN OUT 2 days ago\n"
            ]
        );
        let soon = lines("listeners.web.tls", &status(3, None));
        assert_eq!(soon, ["listeners.web.tls: `a.pem` RUNS OUT in 3 days\n"]);
    }
}
