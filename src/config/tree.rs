//! The file as a tree that remembers where everything was written.
//!
//! serde stops at its first error and drops positions, so the tree is built from parser events.
//! It is bounded: a file that would expand to more than [`MAX_NODES`] values is refused.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::rc::Rc;

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, Span, options};

use super::diagnostic::{Mark, Problem, Problems};

/// Values that one file may expand to, aliases counted as often as they are used. Ten thousand
/// routes need about a hundred thousand; a bomb of nested aliases needs billions.
pub(crate) const MAX_NODES: u64 = 1_000_000;

/// Depth of the tree, aliases followed. The configuration itself needs fewer than ten.
const MAX_DEPTH: u32 = 64;

/// One value and its place.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) mark: Mark,
    pub(crate) value: Value,
    /// Values in this subtree, itself included.
    size: u64,
    depth: u32,
}

/// What a value is before any key gives it a meaning.
#[derive(Debug)]
pub(crate) enum Value {
    /// Empty, `~` or `null`.
    Null,
    /// `plain` is false for quoted and block scalars, which are always text.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

/// One key of a map and what was written under it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) mark: Mark,
    pub(crate) node: Rc<Node>,
}

impl Node {
    /// The value under `key`, when this is a map that has it.
    pub(crate) fn child(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// The entries of a map; none for everything else.
    pub(crate) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// How a message calls this kind of value.
    pub(crate) fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Reads `text`; problems that leave a usable tree (a duplicate key) are pushed beside it.
pub(crate) fn parse(text: &str, problems: &mut Problems) -> Option<Rc<Node>> {
    let mut builder = Builder {
        frames: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        spent: 0,
        documents: 0,
        problems,
    };
    let options =
        options! { flow_nesting_limit: 32, block_nesting_limit: 32, disallow_directives: true };
    for next in Parser::new_from_str_with_options(text, options) {
        let step = match next {
            Ok((event, span)) => builder.step(event, mark_of(&span)),
            Err(error) => {
                let mark = Mark::point(error.marker().line(), error.marker().col() + 1);
                let help =
                    "the rest of the file was not read; errors beyond this place are not listed";
                Err(Problem::error(
                    mark,
                    builder.path(),
                    format!("this is not YAML: {}", error.info()),
                )
                .help(help))
            }
        };
        if let Err(problem) = step {
            builder.problems.push(problem);
            return None;
        }
    }
    builder.root
}

fn mark_of(span: &Span) -> Mark {
    let mut mark = Mark::point(span.start.line(), span.start.col() + 1);
    if span.end.line() == span.start.line() {
        mark.width = u32::try_from(span.end.col().saturating_sub(span.start.col()))
            .unwrap_or(1)
            .max(1);
    }
    mark
}

/// A list or map that is still open.
struct Frame {
    mark: Mark,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Rc<Node>>),
    Map {
        entries: Vec<Entry>,
        seen: HashMap<String, u32>,
        pending: Option<(String, Mark)>,
        merges: Vec<Rc<Node>>,
    },
}

struct Builder<'a> {
    frames: Vec<Frame>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
    spent: u64,
    documents: u32,
    problems: &'a mut Problems,
}

impl Builder<'_> {
    fn step(&mut self, event: Event<'_>, mark: Mark) -> Result<(), Problem> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    let message = "a second document begins here; a configuration is one document";
                    return Err(
                        Problem::error(mark, String::new(), message).help("remove the `---` line")
                    );
                }
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_tag(tag.is_some(), mark)?;
                let plain = style == ScalarStyle::Plain;
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if null {
                    Value::Null
                } else {
                    Value::Scalar {
                        text: text.into_owned(),
                        plain,
                    }
                };
                self.spend(1, mark)?;
                self.place(
                    Node {
                        mark,
                        value,
                        size: 1,
                        depth: 1,
                    }
                    .into(),
                    anchor,
                    mark,
                )
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.open(Content::List(Vec::new()), anchor, tag.is_some(), mark)
            }
            Event::MappingStart(_, anchor, tag) => {
                let content = Content::Map {
                    entries: Vec::new(),
                    seen: HashMap::new(),
                    pending: None,
                    merges: Vec::new(),
                };
                self.open(content, anchor, tag.is_some(), mark)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id).map(Rc::clone) else {
                    let message = "this alias names the value that it stands in, which has no end";
                    return Err(Problem::error(mark, self.path(), message));
                };
                self.spend(node.size, mark)?;
                self.place(node, 0, mark)
            }
            _ => Ok(()),
        }
    }

    fn open(
        &mut self,
        content: Content,
        anchor: usize,
        tagged: bool,
        mark: Mark,
    ) -> Result<(), Problem> {
        self.refuse_tag(tagged, mark)?;
        self.spend(1, mark)?;
        // The start of a block collection spans its first token; the caret points at one place.
        self.frames.push(Frame {
            mark: Mark { width: 1, ..mark },
            anchor,
            content,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Problem> {
        let Some(frame) = self.frames.pop() else {
            return Ok(());
        };
        let value = match frame.content {
            Content::List(items) => Value::List(items),
            Content::Map {
                entries,
                seen,
                merges,
                ..
            } => Value::Map(self.merge(entries, &seen, &merges, frame.mark)?),
        };
        let (size, depth) = match &value {
            Value::List(items) => measure(items.iter()),
            Value::Map(entries) => measure(entries.iter().map(|entry| &entry.node)),
            _ => (0, 0),
        };
        let node = Node {
            mark: frame.mark,
            value,
            size: size.saturating_add(1),
            depth: depth + 1,
        };
        self.place(node.into(), frame.anchor, frame.mark)
    }

    /// YAML's merge key: `<<: *defaults` adds the entries that the map does not have itself.
    fn merge(
        &mut self,
        mut entries: Vec<Entry>,
        seen: &HashMap<String, u32>,
        merges: &[Rc<Node>],
        mark: Mark,
    ) -> Result<Vec<Entry>, Problem> {
        if merges.is_empty() {
            return Ok(entries);
        }
        let mut known: std::collections::HashSet<String> = seen.keys().cloned().collect();
        for source in merges {
            for entry in source.entries() {
                if known.insert(entry.key.clone()) {
                    self.spend(entry.node.size, mark)?;
                    entries.push(entry.clone());
                }
            }
        }
        Ok(entries)
    }

    fn place(&mut self, mut node: Rc<Node>, anchor: usize, mark: Mark) -> Result<(), Problem> {
        if node.depth > MAX_DEPTH {
            let message = format!("the file nests deeper than {MAX_DEPTH} levels");
            return Err(Problem::error(mark, self.path(), message));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        let path = self.path();
        match self.frames.last_mut().map(|frame| &mut frame.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map {
                entries,
                seen,
                pending,
                merges,
            }) => match pending.take() {
                None => {
                    let Value::Scalar { text, .. } = &node.value else {
                        let message = format!("a key must be text, this is {}", node.kind());
                        return Err(Problem::error(mark, path, message));
                    };
                    if text != "<<"
                        && let Some(first) = seen.get(text)
                    {
                        let message = format!(
                            "the key `{text}` is given twice; it stands on line {first} already"
                        );
                        let problem = Problem::error(mark, join(&path, text), message);
                        self.problems
                            .push(problem.help("keep one of the two; they are not merged"));
                    }
                    *pending = Some((text.clone(), mark));
                }
                Some((key, _)) if key == "<<" => match &node.value {
                    Value::Map(_) => merges.push(node),
                    Value::List(items)
                        if items.iter().all(|item| matches!(item.value, Value::Map(_))) =>
                    {
                        merges.extend(items.iter().map(Rc::clone));
                    }
                    _ => {
                        let message = "the merge key `<<` takes a map or a list of maps";
                        return Err(Problem::error(mark, join(&path, "<<"), message));
                    }
                },
                Some((key, key_mark)) => {
                    // An empty value has no place of its own; the key is what a reader looks for.
                    if matches!(node.value, Value::Null) {
                        node = Node {
                            mark: key_mark,
                            value: Value::Null,
                            size: 1,
                            depth: 1,
                        }
                        .into();
                    }
                    if !seen.contains_key(&key) {
                        seen.insert(key.clone(), key_mark.line);
                        entries.push(Entry {
                            key,
                            mark: key_mark,
                            node,
                        });
                    }
                }
            },
        }
        Ok(())
    }

    fn spend(&mut self, cost: u64, mark: Mark) -> Result<(), Problem> {
        self.spent = self.spent.saturating_add(cost);
        if self.spent <= MAX_NODES {
            return Ok(());
        }
        let message = format!("the file expands to more than {MAX_NODES} values");
        Err(Problem::error(mark, self.path(), message)
            .help("aliases that use aliases multiply; write the values out"))
    }

    fn refuse_tag(&self, tagged: bool, mark: Mark) -> Result<(), Problem> {
        if !tagged {
            return Ok(());
        }
        let message = "tags (`!name`) have no meaning here";
        Err(Problem::error(mark, self.path(), message)
            .help("remove the tag, or quote a text that begins with `!`"))
    }

    /// Where the builder stands, as messages name it: `routes[3].match`.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.frames {
            match &frame.content {
                Content::List(items) => {
                    let _ = write!(path, "[{}]", items.len());
                }
                Content::Map {
                    pending: Some((key, _)),
                    ..
                } => path = join(&path, key),
                Content::Map { pending: None, .. } => {}
            }
        }
        path
    }
}

/// `upstreams` and `api` make `upstreams.api`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

fn measure<'a>(children: impl Iterator<Item = &'a Rc<Node>>) -> (u64, u32) {
    children.fold((0, 0), |(size, depth), node| {
        (size.saturating_add(node.size), depth.max(node.depth))
    })
}
