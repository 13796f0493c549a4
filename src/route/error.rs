//! Why a route cannot be compiled, and where.

/// One fault of one route; a compilation reports all that it finds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {fault}")]
pub struct CompileError {
    /// The route's place from the top, the first being 0.
    pub route: usize,
    /// The key as a dotted path, `routes[3].match.path`.
    pub place: String,
    pub fault: Fault,
}

/// What is wrong, told apart so that a caller may add the nearest valid name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("there is no listener named `{0}`")]
    UnknownListener(String),
    #[error("there is no upstream named `{0}`")]
    UnknownUpstream(String),
    #[error("the name `{name}` is taken by routes[{first}]; give one of them a `name` of its own")]
    DuplicateName { name: String, first: usize },
    #[error("`{text}` is not a host to match: {reason}")]
    Host { text: String, reason: &'static str },
    #[error("`{text}` is not a path: {reason}")]
    Path { text: String, reason: &'static str },
    #[error("`{text}` is not a regular expression: {reason}")]
    Regex { text: String, reason: String },
    #[error("`{text}` is not a method: {reason}")]
    Method { text: String, reason: &'static str },
    #[error("`{0}` is not a field name: only letters, digits and !#$%&'*+-.^_`|~ may occur")]
    FieldName(String),
    #[error("a field value cannot hold the byte 0x{0:02x}")]
    FieldValue(u8),
    #[error("`{name}` cannot be edited: {reason}")]
    RefusedField { name: String, reason: &'static str },
    #[error("a split needs at least one upstream with a weight above 0")]
    EmptySplit,
    #[error("{0} is not the status of a redirect: use 301, 302, 303, 307 or 308")]
    RedirectStatus(u16),
    #[error("`{text}` is not a scheme: use http or https")]
    Scheme { text: String },
    #[error("{0} is not the status of a final response: use 200 to 599")]
    RespondStatus(u16),
    #[error("a response with status {0} has no body (RFC 9110, 15)")]
    BodyNotAllowed(u16),
    #[error("the path is matched by a regular expression, so that there is no prefix to replace")]
    NoPrefix,
    #[error("`{text}` is not a replacement: {reason}")]
    Replacement { text: String, reason: String },
    #[error("there are more than {0} routes")]
    TooMany(usize),
}

/// Gathers the faults of one route while the rest of it is still looked at.
pub(super) struct Faults<'a> {
    route: usize,
    found: &'a mut Vec<CompileError>,
}

impl<'a> Faults<'a> {
    pub(super) fn of(route: usize, found: &'a mut Vec<CompileError>) -> Self {
        Self { route, found }
    }

    /// Notes `fault` at `key`, a path within the route.
    pub(super) fn add(&mut self, key: &str, fault: Fault) {
        let route = self.route;
        let dot = if key.is_empty() { "" } else { "." };
        let place = format!("routes[{route}]{dot}{key}");
        self.found.push(CompileError {
            route,
            place,
            fault,
        });
    }

    /// The value, or `None` with its fault noted.
    pub(super) fn keep<T>(&mut self, key: &str, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.add(key, fault)).ok()
    }
}
