//! What only compiled routes, the files of certificates and this system can tell about a file, in the form in which its other
//! mistakes are told.

use std::path::Path;

use super::{needed, privileges, renewal};
use crate::config::{Address, Config, Diagnostic, Finding, Level, Loaded, Places, Refusal};
use crate::route::{self, CompileError, Table};

/// Routes that are named as those that cover another one.
const NAMED: usize = 3;

/// Adds what compiling the routes finds: what cannot be compiled refuses the file, what can never match is a warning.
pub fn with_routes(mut loaded: Loaded) -> Result<Loaded, Refusal> {
    let config = &loaded.config;
    let listeners: Vec<String> = config.listeners.keys().cloned().collect();
    let upstreams: Vec<String> = config.upstreams.keys().cloned().collect();
    match Table::compile(&config.routes, &listeners, &upstreams) {
        Ok(table) => {
            let found = unreachable(config, &table, &loaded.places);
            loaded.warnings.extend(found);
            sort(&mut loaded.warnings);
            Ok(loaded)
        }
        Err(errors) => {
            let mut refusal = refusal(&errors, &loaded.places);
            refusal.diagnostics.append(&mut loaded.warnings);
            sort(&mut refusal.diagnostics);
            Err(refusal)
        }
    }
}

/// Adds what the files of certificates say. Blocks on them.
pub fn with_certificates(mut loaded: Loaded) -> Result<Loaded, Refusal> {
    let found = renewal::judge::certificates(&loaded.config, &loaded.places);
    let refused = found.iter().any(|one| one.level == Level::Error);
    loaded.warnings.extend(found);
    sort(&mut loaded.warnings);
    if refused {
        return Err(Refusal {
            diagnostics: loaded.warnings,
            unreadable: false,
        });
    }
    Ok(loaded)
}

/// Adds what this system would not let the process do once it is another user. Blocks on files.
pub fn with_ports(mut loaded: Loaded) -> Loaded {
    // Every Linux since 4.11 has it; 1024 is what it was before.
    let free = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let free = free.ok().and_then(|text| text.trim().parse().ok());
    let stays_root = privileges::stays_root(&loaded.config);
    if !stays_root {
        let found = low_ports(&loaded.config, free.unwrap_or(1024), &loaded.places);
        loaded.warnings.extend(found);
        sort(&mut loaded.warnings);
    }
    loaded
}

/// A warning for each listener with a port below `free`, where the process becomes another user after it was bound: what is bound
/// stays, also over an upgrade, but nothing binds it again.
fn low_ports(config: &Config, free: u16, places: &Places) -> Vec<Diagnostic> {
    let Some(user) = &config.user else {
        return Vec::new();
    };
    let low = config.listeners.iter().filter_map(|(name, listener)| {
        let Address::Tcp(address) = listener.address else {
            return None;
        };
        (1..free).contains(&address.port()).then(|| Finding {
            level: Level::Warning,
            path: format!("listeners.{name}"),
            at: "address",
            message: format!(
                "once the process is `{user}` it cannot bind port {} again: a reload that brings this listener back, or \
                 moves one here, is refused",
                address.port()
            ),
            help: Some(format!(
                "set `net.ipv4.ip_unprivileged_port_start` to {} or less, have a socket unit of systemd bind it, or start as \
                 `{user}` with CAP_NET_BIND_SERVICE and without `user`; else restart for such a change",
                address.port()
            )),
        })
    });
    places.locate(low)
}

/// Adds which files the user that the process becomes may not read. `file` is the configuration. Blocks on them.
pub fn with_user(mut loaded: Loaded, file: &Path) -> Loaded {
    let found = needed::warnings(&loaded.config, file, &loaded.places);
    loaded.warnings.extend(found);
    sort(&mut loaded.warnings);
    loaded
}

/// A warning for each route of `config`, compiled to `table`, that can never match.
pub fn unreachable(config: &Config, table: &Table, places: &Places) -> Vec<Diagnostic> {
    let covered = table.unreachable().into_iter();
    places.locate(covered.map(|covered| {
        let (takes, it) = match covered.by.len() {
            1 => ("takes", "it matches"),
            _ => ("take", "they match"),
        };
        let who = listed(&covered.by, |by| {
            let path = format!("routes[{by}]");
            format!("`{path}` on line {}", places.line(&path))
        });
        let what = listed(&covered.by, |by| {
            let written = config.routes.get(by);
            let text = written.map(|route| route::default_name(&route.matcher));
            format!("`{}`", text.unwrap_or_default())
        });
        let message =
            format!("can never match: {who} {takes} all of its requests before, since {it} {what}");
        Finding {
            level: Level::Warning,
            path: format!("routes[{}]", covered.route),
            at: "match",
            message,
            help: Some("move it further up, or remove it".to_owned()),
        }
    }))
}

/// Why a file is refused whose routes cannot be compiled.
pub fn refusal(errors: &[CompileError], places: &Places) -> Refusal {
    let findings = errors.iter().map(|error| Finding {
        level: Level::Error,
        path: error.place.clone(),
        at: "",
        message: error.fault.to_string(),
        help: None,
    });
    Refusal {
        diagnostics: places.locate(findings),
        unreadable: false,
    }
}

/// In the order of the file; what is said about the file as a whole comes last.
fn sort(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by_key(|one| (one.line == 0, one.line, one.column));
}

/// `a, b and c`; of many, the first and how many more there are.
fn listed(indices: &[usize], text: impl Fn(usize) -> String) -> String {
    let mut texts: Vec<String> = indices
        .iter()
        .take(NAMED)
        .map(|index| text(*index))
        .collect();
    if indices.len() > NAMED {
        texts.push(format!("{} more", indices.len() - NAMED));
    }
    match texts.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => texts.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::read::from_text;
    use crate::route::Fault;

    fn checked(routes: &str) -> Result<Loaded, Refusal> {
        let text = format!(
            "listeners: {{ web: {{ address: '127.0.0.1:80' }} }}\nroutes:\n{routes}\
             upstreams: {{ a: {{ endpoints: ['h:1'] }}, spare: {{ endpoints: ['h:2'] }} }}\n"
        );
        with_routes(from_text("p.yaml", &text, &|_| None).unwrap())
    }

    fn warnings(routes: &str) -> Vec<String> {
        let warnings = checked(routes).unwrap().warnings;
        warnings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_route_that_can_never_match_is_told_with_its_place_and_the_reason() {
        let told = warnings(
            "  - { match: { path: / }, upstream: a }\n  - { name: late, match: { path: /x }, upstream: a }\n",
        );
        let expected = "\
p.yaml:4:26: warning: routes[1]: can never match: `routes[0]` on line 3 takes all of its requests before, since it matches `/*`
 4 |   - { name: late, match: { path: /x }, upstream: a }
   |                          ^
  = move it further up, or remove it";
        assert_eq!(told[0], expected);
        // In the order of the file, with what the file alone tells.
        assert!(told[1].contains("upstreams.spare"), "{told:?}");
    }

    #[test]
    fn several_routes_that_cover_one_together_are_all_named() {
        let hosts = |hosts: &str, path: &str| {
            format!("  - {{ match: {{ host: [{hosts}], path: {path} }}, upstream: a }}\n")
        };
        let told = warnings(
            &[
                hosts("a.com", "/"),
                hosts("b.com", "/"),
                hosts("a.com, b.com", "/x"),
            ]
            .concat(),
        );
        let said = "`routes[0]` on line 3 and `routes[1]` on line 4 take all of its requests before, \
                    since they match `a.com/*` and `b.com/*`";
        assert!(told[0].contains(said), "{told:?}");
        assert_eq!(
            listed(&[1, 2, 3, 4, 5], |index| index.to_string()),
            "1, 2, 3 and 2 more"
        );
    }

    #[test]
    fn ports_that_cannot_be_bound_again_are_told_of() {
        let text = "user: www\nlisteners:\n  web: { address: '127.0.0.1:80' }\n  any: { address: '127.0.0.1:0' }\n  \
                    high: { address: '127.0.0.1:8080' }\n  unix: { address: 'unix:/run/p.sock' }\n\
                    routes: [ { respond: {} } ]\n";
        let loaded = from_text("p.yaml", text, &|_| None).unwrap();
        let told = |free| low_ports(&loaded.config, free, &loaded.places);
        let [one] = &told(1024)[..] else {
            panic!("{:?}", told(1024));
        };
        let text = one.to_string();
        assert!(
            text.starts_with("p.yaml:3:19: warning: listeners.web: once the process is `www`"),
            "{text}"
        );
        assert!(text.contains("ip_unprivileged_port_start` to 80"), "{text}");
        assert!(told(80).is_empty() && told(0).is_empty());
        let nobody = Config {
            user: None,
            ..loaded.config.clone()
        };
        assert!(low_ports(&nobody, 1024, &loaded.places).is_empty());
    }

    /// The reader refuses nearly all of them itself.
    #[test]
    fn a_route_that_cannot_be_compiled_refuses_the_file_where_it_stands() {
        let places = checked("  - match: { path: /a }\n    upstream: a\n")
            .unwrap()
            .places;
        let error = CompileError {
            route: 0,
            place: "routes[0].match.path".to_owned(),
            fault: Fault::TooMany(1),
        };
        let refusal = refusal(&[error], &places);
        assert_eq!((refusal.errors(), refusal.unreadable), (1, false));
        let expected = "\
p.yaml:3:20: error: routes[0].match.path: there are more than 1 routes
 3 |   - match: { path: /a }
   |                    ^^";
        assert_eq!(refusal.diagnostics[0].to_string(), expected);
    }
}
