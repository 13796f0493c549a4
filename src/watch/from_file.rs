//! What one file gave: read when a configuration is compiled, and exchanged when the file changes.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};

/// What can be read from a file by itself.
pub trait Content: PartialEq + Send + Sync + Sized + 'static {
    /// Why the file is of no use; it names the file.
    type Error: Error;

    /// Reads the file. Blocks.
    fn load(path: &Path) -> Result<Self, Self::Error>;

    /// What stands in the file: `users`, `keys`.
    fn what() -> &'static str;
}

/// What a file gave. It is the same for all who have it, and another one from the next look on when the file changes.
#[derive(Debug)]
pub struct FromFile<T> {
    path: PathBuf,
    now: Arc<ArcSwap<T>>,
    /// Why the file is of no use as it is now, where it is not.
    trouble: ArcSwapOption<String>,
}

impl<T: Content> FromFile<T> {
    /// Reads the file. Blocks.
    pub fn open(path: &Path) -> Result<Arc<Self>, T::Error> {
        Ok(Arc::new(Self {
            now: Arc::new(ArcSwap::from_pointee(T::load(path)?)),
            path: path.to_owned(),
            trouble: ArcSwapOption::empty(),
        }))
    }

    /// What it holds now.
    pub fn now(&self) -> Guard<Arc<T>> {
        self.now.load()
    }

    /// The same for those who need not know that it is a file.
    pub fn shared(&self) -> Arc<ArcSwap<T>> {
        Arc::clone(&self.now)
    }
}

/// A file that is looked after, whatever stands in it.
pub trait Renewable: Send + Sync {
    fn path(&self) -> &Path;

    /// What stands in it.
    fn what(&self) -> &'static str;

    /// Reads it again, and puts in force what it gives; nothing changes when that is of no use, and the reason is given.
    /// Whether it is something else than before. Blocks.
    fn renew(&self) -> Result<bool, String>;

    /// Why it is of no use as it is now.
    fn trouble(&self) -> Option<Arc<String>>;

    /// Keeps that in mind, or that it is over.
    fn set_trouble(&self, trouble: Option<String>);
}

impl<T: Content> Renewable for FromFile<T> {
    fn path(&self) -> &Path {
        &self.path
    }

    fn what(&self) -> &'static str {
        T::what()
    }

    fn renew(&self) -> Result<bool, String> {
        let new = T::load(&self.path).map_err(|error| error.to_string())?;
        let is_same = new == **self.now.load();
        if !is_same {
            self.now.store(Arc::new(new));
        }
        Ok(!is_same)
    }

    fn trouble(&self) -> Option<Arc<String>> {
        self.trouble.load_full()
    }

    fn set_trouble(&self, trouble: Option<String>) {
        self.trouble.store(trouble.map(Arc::new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Number(u32);

    #[derive(Debug, thiserror::Error)]
    #[error("no number")]
    struct NoNumber;

    impl Content for Number {
        type Error = NoNumber;

        fn load(path: &Path) -> Result<Self, NoNumber> {
            let text = std::fs::read_to_string(path).map_err(|_| NoNumber)?;
            text.trim().parse().map(Self).map_err(|_| NoNumber)
        }

        fn what() -> &'static str {
            "number"
        }
    }

    #[test]
    fn what_is_of_no_use_changes_nothing() {
        let file = std::env::temp_dir().join(format!("plimsoll-number-{}", std::process::id()));
        std::fs::write(&file, "1").unwrap();
        let number = FromFile::<Number>::open(&file).unwrap();
        let now = || number.now().0;
        std::fs::write(&file, " 1\n").unwrap();
        assert_eq!((number.renew(), now()), (Ok(false), 1));
        std::fs::write(&file, "one").unwrap();
        assert_eq!((number.renew(), now()), (Err("no number".to_owned()), 1));
        std::fs::write(&file, "2").unwrap();
        assert_eq!((number.renew(), now()), (Ok(true), 2));
        std::fs::remove_file(&file).unwrap();
        assert!(number.renew().is_err() && now() == 2);
        assert!(FromFile::<Number>::open(&file).is_err());
    }
}
