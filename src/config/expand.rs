//! `${VAR}` and `${VAR:-default}` inside values, after the YAML was parsed.
//!
//! Because it comes after parsing, a variable can never add keys or change the structure of the
//! file. `$${` stands for a literal `${`; a lone `$` is kept as it is. Keys are not expanded.

use std::borrow::Cow;

/// Why a reference could not be expanded. Holds names, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ExpandError {
    #[error("the environment variable `{0}` is not set")]
    Unset(String),
    #[error("`${{` without a closing `}}`")]
    Open,
    #[error("`${{{0}}}` does not name a variable")]
    Name(String),
}

impl ExpandError {
    pub(crate) fn help(&self) -> String {
        match self {
            Self::Unset(name) => format!("set it, or give a default: `${{{name}:-default}}`"),
            Self::Open | Self::Name(_) => {
                "names have letters, digits and `_`; write `$${` where the characters `${` are meant".to_owned()
            }
        }
    }
}

/// Replaces every reference; borrowed when there was none.
pub(crate) fn expand<'t>(
    text: &'t str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Cow<'t, str>, ExpandError> {
    if !text.contains("${") {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, reference) = rest.split_at(at);
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = &reference[2..];
            continue;
        }
        out.push_str(before);
        let (inside, after) = reference[2..].split_once('}').ok_or(ExpandError::Open)?;
        let (name, default) = inside
            .split_once(":-")
            .map_or((inside, None), |(name, text)| (name, Some(text)));
        if !is_name(name) {
            return Err(ExpandError::Name(name.chars().take(32).collect()));
        }
        // As in a shell, a default also takes the place of an empty value.
        match (env(name), default) {
            (Some(value), None) => out.push_str(&value),
            (Some(value), Some(_)) if !value.is_empty() => out.push_str(&value),
            (_, Some(default)) => out.push_str(default),
            (None, None) => return Err(ExpandError::Unset(name.to_owned())),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(Cow::Owned(out))
}

/// Writes a text so that [`expand`] gives it back.
pub(crate) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn is_name(name: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(word)
        && name
            .bytes()
            .next()
            .is_some_and(|first| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("example.com".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn replaces_names_and_takes_defaults_for_unset_and_empty() {
        let text = "${HOST}:${PORT:-80}/${EMPTY:-x}${EMPTY}";
        assert_eq!(expand(text, &env).unwrap(), "example.com:80/x");
    }

    #[test]
    fn keeps_a_lone_dollar_and_the_escape() {
        assert_eq!(expand("^/a$", &env).unwrap(), "^/a$");
        assert_eq!(expand("/$1/$${name}/$$", &env).unwrap(), "/$1/${name}/$$");
    }

    #[test]
    fn refuses_what_is_unset_open_or_no_name() {
        assert_eq!(
            expand("${NOPE}", &env),
            Err(ExpandError::Unset("NOPE".to_owned()))
        );
        assert_eq!(expand("${HOST", &env), Err(ExpandError::Open));
        assert_eq!(expand("${1}", &env), Err(ExpandError::Name("1".to_owned())));
    }

    proptest! {
        #[test]
        fn what_is_escaped_expands_to_itself(text in "[${}a-z]{0,20}") {
            let escaped = escape(&text);
            prop_assert_eq!(expand(&escaped, &|_| None).unwrap(), text);
        }
    }
}
