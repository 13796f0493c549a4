//! Where everything stands in a file, for what only a later stage can tell about it.

use std::rc::Rc;

use super::diagnostic::{Diagnostic, Level, Mark, Problem, Problems};
use super::tree::{Node, Value};

/// What a later stage found in a configuration that this folder has accepted.
#[derive(Debug, Clone)]
pub struct Finding {
    pub level: Level,
    /// The key that is meant, `routes[3].rewrite`.
    pub path: String,
    /// A key below that one to point at, where it is written.
    pub at: &'static str,
    /// What is wrong.
    pub message: String,
    /// The remedy.
    pub help: Option<String>,
}

/// A file with the place of every value in it.
#[derive(Debug, Clone)]
pub struct Places {
    file: String,
    text: String,
    root: Rc<Node>,
}

impl Places {
    pub(super) fn new(file: &str, text: &str, root: Rc<Node>) -> Self {
        Self {
            file: file.to_owned(),
            text: text.to_owned(),
            root,
        }
    }

    /// The whole file.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The line on which a value begins: that of `path`, or of the last part of it that is written.
    pub fn line(&self, path: &str) -> u32 {
        self.mark(path).line
    }

    /// Gives findings their places, in the order of the file; as bounded in number as those of this folder.
    pub fn locate(&self, findings: impl IntoIterator<Item = Finding>) -> Vec<Diagnostic> {
        let mut problems = Problems::default();
        for finding in findings {
            let mark = self.mark(&format!("{}.{}", finding.path, finding.at));
            problems.push(Problem {
                level: finding.level,
                mark,
                path: finding.path,
                message: finding.message,
                help: finding.help,
            });
        }
        problems.into_diagnostics(&self.file, &self.text)
    }

    fn mark(&self, path: &str) -> Mark {
        let mut node = &*self.root;
        for step in path.split(['.', '[']) {
            let below = match step.strip_suffix(']') {
                Some(index) => item(node, index),
                None => node.child(step).map(|entry| &*entry.node),
            };
            match below {
                Some(below) => node = below,
                None => break,
            }
        }
        node.mark
    }
}

fn item<'n>(node: &'n Node, index: &str) -> Option<&'n Node> {
    match &node.value {
        Value::List(items) => items.get(index.parse::<usize>().ok()?).map(|item| &**item),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::from_text;
    use super::*;

    const TEXT: &str = "listeners: { web: { address: '127.0.0.1:80' } }\nroutes:\n  - respond: { status: 404 }\n    \
        match: { path: /a }\n  - name: b\n    respond: { status: 404 }\n";

    fn found(path: &str, at: &'static str) -> Finding {
        Finding {
            level: Level::Warning,
            path: path.to_owned(),
            at,
            message: "odd".to_owned(),
            help: None,
        }
    }

    #[test]
    fn a_finding_is_told_where_it_stands_and_in_the_order_of_the_file() {
        let places = from_text("p.yaml", TEXT, &|_| None).unwrap().places;
        let told = places.locate([
            // Has no `match`: the route itself is pointed at.
            found("routes[1]", "match"),
            found("routes[0]", "match"),
            found("routes[9].rewrite", ""),
        ]);
        let told: Vec<_> = told
            .iter()
            .map(|one| (one.line, one.column, &*one.path))
            .collect();
        assert_eq!(
            told,
            [
                (3, 3, "routes[9].rewrite"),
                (4, 12, "routes[0]"),
                (5, 5, "routes[1]")
            ]
        );
        assert_eq!(places.line("routes[0].match.path"), 4);
    }

    #[test]
    fn many_findings_are_counted() {
        let places = from_text("p.yaml", TEXT, &|_| None).unwrap().places;
        let told = places.locate((0..1500).map(|_| found("routes[0]", "")));
        assert_eq!(told.len(), 1001);
        assert_eq!(told[1000].message, "500 more findings are not listed");
    }
}
