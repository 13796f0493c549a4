//! What `plimsoll check` says about a file, in text and as JSON.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::diagnostic::Refusal;
use super::read::Loaded;
use super::schema::Config;

/// For people: every finding, then one line of summary.
pub fn text(name: &str, outcome: &Result<Loaded, Refusal>) -> String {
    match outcome {
        Err(refusal) => refusal.to_string(),
        Ok(loaded) => {
            let mut out = String::new();
            for warning in &loaded.warnings {
                let _ = writeln!(out, "{warning}\n");
            }
            let warnings = match loaded.warnings.len() {
                0 => String::new(),
                count => format!("; {}", counted(count, "warning")),
            };
            let _ = write!(out, "{name}: valid: {}{warnings}", summary(&loaded.config));
            out
        }
    }
}

/// For programs: `valid`, the findings, and how much of what the file holds.
pub fn json(name: &str, outcome: &Result<Loaded, Refusal>) -> Json {
    match outcome {
        Err(refusal) => json!({ "file": name, "valid": false, "diagnostics": refusal.diagnostics }),
        Ok(Loaded {
            config, warnings, ..
        }) => json!({
            "file": name,
            "valid": true,
            "diagnostics": warnings,
            "listeners": config.listeners.len(),
            "routes": config.routes.len(),
            "upstreams": config.upstreams.len(),
            "endpoints": endpoints(config),
        }),
    }
}

/// What a configuration holds, in one line.
pub fn summary(config: &Config) -> String {
    [
        counted(config.listeners.len(), "listener"),
        counted(config.routes.len(), "route"),
        counted(config.upstreams.len(), "upstream"),
        counted(endpoints(config), "endpoint"),
    ]
    .join(", ")
}

fn endpoints(config: &Config) -> usize {
    config
        .upstreams
        .values()
        .map(|upstream| upstream.endpoints.len())
        .sum()
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::super::read::from_text;
    use super::*;

    const VALID: &str = "listeners: { web: { address: '127.0.0.1:80' } }\nroutes: [{ upstream: a }]\n\
        upstreams: { a: { endpoints: ['h:1', 'h:2'] }, b: { endpoints: ['h:3'] } }\n";

    #[test]
    fn a_valid_file_is_summed_up_after_its_warnings() {
        let outcome = from_text("p.yaml", VALID, &|_| None);
        let expected = "\
p.yaml:3:48: warning: upstreams.b: no route names this upstream
 3 | upstreams: { a: { endpoints: ['h:1', 'h:2'] }, b: { endpoints: ['h:3'] } }
   |                                                ^
  = add a route, or remove it

p.yaml: valid: 1 listener, 1 route, 2 upstreams, 3 endpoints; 1 warning";
        assert_eq!(text("p.yaml", &outcome), expected);
        let json = json("p.yaml", &outcome);
        assert_eq!(
            (&json["valid"], &json["endpoints"]),
            (&Json::from(true), &Json::from(3))
        );
        assert_eq!(json["diagnostics"][0]["level"], "warning");
    }

    #[test]
    fn a_refused_file_lists_each_error_and_their_number() {
        let outcome = from_text("p.yaml", "listener: {}\nworkers: many\n", &|_| None);
        let text = text("p.yaml", &outcome);
        assert!(
            text.contains("p.yaml:1:1: error: listener: the key `listener` is not known here"),
            "{text}"
        );
        assert!(text.contains("  = did you mean `listeners`?"), "{text}");
        assert!(
            text.contains("p.yaml:2:10: error: workers: expected a whole number, found `many`"),
            "{text}"
        );
        assert!(text.ends_with("3 errors"), "{text}");
        assert_eq!(
            json("p.yaml", &outcome)["diagnostics"]
                .as_array()
                .unwrap()
                .len(),
            3
        );
    }
}
