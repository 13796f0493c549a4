//! Files of endpoints: reading them. Being told when they change is [`crate::watch`].

use std::path::Path;

use super::{Absence, Answer, Failure};
use crate::config::read;
use crate::config::{Endpoint, Level};

/// Reads the file, or says what its state means.
pub async fn read(path: &Path) -> Result<Vec<Endpoint>, Answer> {
    let path = path.to_owned();
    let reading = tokio::task::spawn_blocking(move || parse(&path));
    reading
        .await
        .unwrap_or_else(|error| Err(Answer::Failed(Failure::Unreadable(error.to_string()))))
}

fn parse(path: &Path) -> Result<Vec<Endpoint>, Answer> {
    let unreadable = |error: String| Answer::Failed(Failure::Unreadable(error));
    let bytes = read::bytes(path).map_err(|error| unreadable(error.to_string()))?;
    if bytes.len() as u64 > read::MAX_BYTES {
        let limit = format!("it is larger than {} MiB", read::MAX_BYTES >> 20);
        return Err(unreadable(limit));
    }
    let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".to_owned()))?;
    let name = path.display().to_string();
    let listed = read::endpoints(&name, &text, &|name| std::env::var(name).ok());
    match listed {
        Ok(none) if none.is_empty() => Err(Answer::Empty(Absence::NoEntry, None)),
        Ok(all) => Ok(all),
        Err(refusal) => {
            let mut errors = refusal.diagnostics.iter();
            let first = errors.find(|one| one.level == Level::Error);
            let first = first.map(|one| {
                let path = if one.path.is_empty() { "" } else { ": " };
                format!("line {}{path}{}: {}", one.line, one.path, one.message)
            });
            Err(Answer::Failed(Failure::Mistake(first.unwrap_or_default())))
        }
    }
}
