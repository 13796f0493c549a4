//! The configuration of `plimsoll proxy --listen A --to B --to C`, which needs no file.

use super::diagnostic::{Diagnostic, Level, Refusal};
use super::nearest::{list, nearest};
use super::schema::{Action, Address, Balance, Config, Endpoint, Listener, Route, Upstream};
use super::units::Target;

/// Builds it from the arguments as they were written. Every wrong one is reported; the `file` of
/// the diagnostics is then the name of the option.
pub fn proxy(listen: &str, to: &[String], balance: Option<&str>) -> Result<Config, Refusal> {
    let mut diagnostics = Vec::new();
    let mut refuse = |option: &str, message: String, help: String| {
        diagnostics.push(Diagnostic {
            level: Level::Error,
            file: option.to_owned(),
            line: 0,
            column: 0,
            path: String::new(),
            message,
            help: Some(help),
            snippet: String::new(),
        });
    };
    let address = listen.parse::<Address>();
    if let Err(error) = &address {
        refuse(
            "--listen",
            format!("`{listen}` is not an address to listen on"),
            error.to_string(),
        );
    }
    if to.is_empty() {
        let help = "give one for each endpoint: `--to 127.0.0.1:9001`";
        refuse("--to", "no endpoint is given".to_owned(), help.to_owned());
    }
    for (index, endpoint) in to.iter().enumerate() {
        if let Err(error) = endpoint.parse::<Target>() {
            refuse(
                "--to",
                format!("`{endpoint}` is not the address of an endpoint"),
                error.to_string(),
            );
        } else if to[..index].contains(endpoint) {
            let help = "leave the second out; for more traffic to one endpoint, give it a weight in a file";
            refuse(
                "--to",
                format!("`{endpoint}` is given twice"),
                help.to_owned(),
            );
        }
    }
    let policy = match balance {
        Some(name) => Balance::named(name),
        None => Some(Balance::default()),
    };
    if let (None, Some(name)) = (&policy, balance) {
        let known = list(Balance::NAMES);
        let help = match nearest(name, Balance::NAMES) {
            Some(near) => format!("did you mean `{near}`? known: {known}"),
            None => format!("known: {known}"),
        };
        refuse(
            "--balance",
            format!("`{name}` is not a balance policy"),
            help,
        );
    }
    match (address, policy) {
        (Ok(address), Some(balance)) if diagnostics.is_empty() => Ok(config(address, to, balance)),
        _ => Err(Refusal {
            diagnostics,
            unreadable: false,
        }),
    }
}

fn config(address: Address, to: &[String], balance: Balance) -> Config {
    let endpoints = to.iter().map(Endpoint::new).collect();
    Config {
        listeners: [("proxy".to_owned(), Listener::new(address))].into(),
        routes: vec![Route {
            action: Action::Upstream("proxy".to_owned()),
            ..Route::default()
        }],
        upstreams: [(
            "proxy".to_owned(),
            Upstream {
                balance,
                ..Upstream::new(endpoints)
            },
        )]
        .into(),
        ..Config::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::from_text;
    use super::super::reference::to_yaml;
    use super::*;

    #[test]
    fn prints_as_a_file_that_reads_back() {
        let to = ["127.0.0.1:9001".to_owned(), "unix:/run/app.sock".to_owned()];
        let config = proxy("127.0.0.1:8080", &to, Some("round_robin")).unwrap();
        let yaml = to_yaml(&config);
        let expected = "\
listeners:
  proxy:
    address: \"127.0.0.1:8080\"
routes:
  - upstream: proxy
upstreams:
  proxy:
    endpoints: [\"127.0.0.1:9001\", \"unix:/run/app.sock\"]
    balance: round_robin
";
        assert_eq!(yaml, expected);
        assert_eq!(
            from_text("printed", &yaml, &|_| None).unwrap().config,
            config
        );
    }

    #[test]
    fn names_every_wrong_option_at_once() {
        let to = ["http://a:1".to_owned(), "b:1".to_owned(), "b:1".to_owned()];
        let refusal = proxy(":8080", &to, Some("roundrobin")).unwrap_err();
        let files: Vec<&str> = refusal
            .diagnostics
            .iter()
            .map(|diagnostic| diagnostic.file.as_str())
            .collect();
        assert_eq!(files, ["--listen", "--to", "--to", "--balance"]);
        assert!(
            refusal.to_string().contains("did you mean `round_robin`?"),
            "{refusal}"
        );
    }
}
