//! What is wrong with a file, where, and what to do about it.

use std::fmt;

use serde::Serialize;

/// A place in the file; line and column count from 1, in characters. Line 0: the file as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mark {
    pub(crate) line: u32,
    pub(crate) column: u32,
    /// Characters to underline.
    pub(crate) width: u32,
}

impl Mark {
    pub(crate) fn point(line: usize, column: usize) -> Self {
        let small = |number| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            line: small(line),
            column: small(column),
            width: 1,
        }
    }
}

/// Whether the file can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Error,
    /// The file is used, but probably not as meant.
    Warning,
}

/// One finding, before it knows the name and the text of its file.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) level: Level,
    pub(crate) mark: Mark,
    pub(crate) path: String,
    pub(crate) message: String,
    pub(crate) help: Option<String>,
}

impl Problem {
    pub(crate) fn error(mark: Mark, path: String, message: impl Into<String>) -> Self {
        Self {
            level: Level::Error,
            mark,
            path,
            message: message.into(),
            help: None,
        }
    }

    pub(crate) fn warning(mark: Mark, path: String, message: impl Into<String>) -> Self {
        Self {
            level: Level::Warning,
            ..Self::error(mark, path, message)
        }
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds the file's name and the line that the problem stands on.
    pub(crate) fn locate(self, file: &str, lines: &[&str]) -> Diagnostic {
        let snippet = (self.mark.line as usize)
            .checked_sub(1)
            .and_then(|index| lines.get(index))
            .map(|line| snippet(line, self.mark))
            .unwrap_or_default();
        Diagnostic {
            level: self.level,
            file: file.to_owned(),
            line: self.mark.line,
            column: self.mark.column,
            path: self.path,
            message: self.message,
            help: self.help,
            snippet,
        }
    }
}

/// Findings that are kept. A file shared by aliases can hold one mistake a million times.
const KEPT: usize = 1000;

/// Findings in which the nearest valid name is looked for: each search compares every name.
const SEARCHED: usize = 100;

/// What was found so far, bounded.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    kept: Vec<Problem>,
    omitted: usize,
    errors: usize,
}

impl Problems {
    pub(crate) fn push(&mut self, problem: Problem) {
        self.errors += usize::from(problem.level == Level::Error);
        if self.kept.len() < KEPT {
            self.kept.push(problem);
        } else {
            self.omitted += 1;
        }
    }

    /// Whether the file cannot be used.
    pub(crate) fn refuse(&self) -> bool {
        self.errors > 0
    }

    /// Whether it is still worth searching for what was meant.
    pub(crate) fn searching(&self) -> bool {
        self.kept.len() < SEARCHED
    }

    /// All that was kept, in the order of the file, and a word about the rest.
    pub(crate) fn into_diagnostics(mut self, file: &str, text: &str) -> Vec<Diagnostic> {
        if self.kept.is_empty() {
            return Vec::new();
        }
        self.kept
            .sort_by_key(|problem| (problem.mark.line, problem.mark.column));
        if self.omitted > 0 {
            let level = if self.refuse() {
                Level::Error
            } else {
                Level::Warning
            };
            let message = format!("{} more findings are not listed", self.omitted);
            self.kept.push(Problem {
                level,
                ..Problem::error(Mark::default(), String::new(), message)
            });
        }
        let lines: Vec<&str> = text.lines().collect();
        self.kept
            .into_iter()
            .map(|problem| problem.locate(file, &lines))
            .collect()
    }
}

/// One finding about a configuration file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub level: Level,
    /// The file's name as it was given.
    pub file: String,
    /// From 1; 0 when the file as a whole is meant.
    pub line: u32,
    /// From 1, in characters.
    pub column: u32,
    /// The key that is meant, `upstreams.api.balance`; empty at the top.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// The remedy: the nearest valid name, or what to write.
    pub help: Option<String>,
    /// The line of the file and a caret under the place, ready to print; may be empty.
    pub snippet: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        let level = match self.level {
            Level::Error => "error",
            Level::Warning => "warning",
        };
        write!(f, ": {level}: ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if !self.snippet.is_empty() {
            write!(f, "\n{}", self.snippet)?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n  = {help}")?;
        }
        Ok(())
    }
}

/// A configuration that cannot be used: every reason for it, in the order of the file, and the
/// warnings that were found on the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    pub diagnostics: Vec<Diagnostic>,
    /// The file could not be opened or read at all, which is not a mistake in it.
    #[serde(skip)]
    pub unreadable: bool,
}

impl Refusal {
    /// How many of the diagnostics are errors.
    pub fn errors(&self) -> usize {
        self.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.level == Level::Error)
            .count()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.diagnostics {
            writeln!(f, "{diagnostic}\n")?;
        }
        let errors = self.errors();
        let plural = if errors == 1 { "" } else { "s" };
        write!(f, "{errors} error{plural}")
    }
}

impl std::error::Error for Refusal {}

/// Characters of a line that are shown; a longer one is cut around the place.
const SHOWN: usize = 140;

fn snippet(line: &str, mark: Mark) -> String {
    let characters: Vec<char> = line.chars().collect();
    let column = (mark.column as usize)
        .saturating_sub(1)
        .min(characters.len());
    let start = if characters.len() <= SHOWN {
        0
    } else {
        column.saturating_sub(SHOWN / 2)
    };
    let end = characters.len().min(start + SHOWN);
    // A tab is kept in the gap before the caret so that both lines stay aligned; other control
    // characters could move the cursor of a terminal and are shown as a replacement.
    let clean = |character: &char| {
        if character.is_control() && *character != '\t' {
            '\u{fffd}'
        } else {
            *character
        }
    };
    let text: String = characters[start..end].iter().map(clean).collect();
    let gap: String = characters[start..column]
        .iter()
        .map(|c| if *c == '\t' { '\t' } else { ' ' })
        .collect();
    let caret = "^".repeat((mark.width as usize).min(end.saturating_sub(column)).max(1));
    let number = mark.line.to_string();
    let margin = " ".repeat(number.len());
    format!(" {number} | {}\n {margin} | {gap}{caret}", text.trim_end())
}
