//! The two files of a certificate: what they are called, and how they are written.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A certificate and its key.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// What became of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Made {
    New,
    Replaced,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    #[error("`{}` is there already; `--force` replaces it", .0.display())]
    Exists(PathBuf),
    #[error("cannot write `{}`: {source}", file.display())]
    Write { file: PathBuf, source: io::Error },
}

/// Anybody may read it.
const PUBLIC: u32 = 0o644;
/// Its owner alone may.
const SECRET: u32 = 0o600;

impl Pair {
    pub(super) fn new(folder: &Path, stem: &str) -> Self {
        Self {
            cert: folder.join(format!("{stem}.pem")),
            key: folder.join(format!("{stem}.key")),
        }
    }

    /// Writes both. A process that watches them sees each whole or not at all.
    pub(super) fn write(&self, cert: &str, key: &str, force: bool) -> Result<Made, FilesError> {
        let there = [&self.cert, &self.key]
            .into_iter()
            .find(|file| file.symlink_metadata().is_ok());
        if let Some(there) = there
            && !force
        {
            return Err(FilesError::Exists(there.clone()));
        }
        if let Some(folder) = self.cert.parent() {
            fs::create_dir_all(folder).map_err(|source| FilesError::Write {
                file: folder.to_owned(),
                source,
            })?;
        }
        replace(&self.key, key, SECRET)?;
        replace(&self.cert, cert, PUBLIC)?;
        Ok(there.map_or(Made::New, |_| Made::Replaced))
    }
}

/// Writes a file under another name, then moves it to its own.
fn replace(file: &Path, text: &str, mode: u32) -> Result<(), FilesError> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = file.with_file_name(name);
    // What a run that was ended left.
    let _ = fs::remove_file(&beside);
    let options = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside);
    let written = options.and_then(|mut open| {
        open.write_all(text.as_bytes())?;
        open.sync_all()?;
        fs::rename(&beside, file)
    });
    written.map_err(|source| FilesError::Write {
        file: file.to_owned(),
        source,
    })
}

/// What the files of a certificate for this name are called: its name as far as it can be a file's.
pub(super) fn stem(name: &str) -> String {
    let name = match name.strip_prefix("*.") {
        Some(rest) => format!("any.{rest}"),
        None => name.to_owned(),
    };
    let kept = name.chars().map(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '.' | '-' | '_' | '@' => c,
        _ => '_',
    });
    let kept: String = kept.collect();
    match kept.trim_start_matches('.') {
        "" => "certificate".to_owned(),
        kept => kept.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::fixture::Folder;

    #[test]
    fn a_name_becomes_a_file_of_the_folder() {
        for (name, file) in [
            ("a.test", "a.test"),
            ("*.a.test", "any.a.test"),
            ("::1", "__1"),
            ("../../etc/passwd", "_.._etc_passwd"),
            ("spiffe://a/b", "spiffe___a_b"),
            ("..", "certificate"),
        ] {
            assert_eq!(stem(name), file);
        }
    }

    #[test]
    fn a_key_is_for_its_owner_and_nothing_is_replaced_unasked() {
        let folder = Folder::new();
        let pair = Pair::new(&folder.path("new"), "a");
        assert_eq!(pair.write("cert", "key", false).unwrap(), Made::New);
        let mode = |file: &Path| fs::metadata(file).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&pair.key), 0o600);
        assert!(matches!(
            pair.write("other", "other", false),
            Err(FilesError::Exists(file)) if file == pair.cert
        ));
        assert_eq!(fs::read_to_string(&pair.key).unwrap(), "key");
        assert_eq!(pair.write("other", "other", true).unwrap(), Made::Replaced);
        assert_eq!(fs::read_to_string(&pair.key).unwrap(), "other");
        assert_eq!(mode(&pair.key), 0o600);
        assert_eq!(
            fs::read_dir(folder.path("new")).unwrap().count(),
            2,
            "nothing else is left"
        );
    }
}
