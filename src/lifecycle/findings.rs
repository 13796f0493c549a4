//! What only compiled routes and the files of certificates can tell about a file, in the form in which its other mistakes are
//! told.

use std::path::Path;

use super::{certificates, needed};
use crate::config::{Config, Diagnostic, Finding, Level, Loaded, Places, Refusal};
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
    let found = certificates::judge::certificates(&loaded.config, &loaded.places);
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
