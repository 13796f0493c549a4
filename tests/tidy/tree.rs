//! The files of the repository.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders that tools write.
pub(crate) fn is_output(path: &Path) -> bool {
    let outputs = [".git", "target", "artifacts", "corpus", "coverage"];
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| outputs.contains(&name))
}

/// All files below `folder`, in order, without entering what `enter` refuses.
pub(crate) fn files(folder: &Path, enter: &dyn Fn(&Path) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| enter(path))
        .collect();
    paths.sort();
    paths
        .into_iter()
        .flat_map(|path| {
            if path.is_dir() {
                files(&path, enter)
            } else {
                vec![path]
            }
        })
        .collect()
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

pub(crate) fn relative(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}
