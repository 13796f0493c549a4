//! How much memory is used of how much: of the process's own limit, or of that of its control group. Blocks on files.

use std::fs;
use std::path::{Path, PathBuf};

const GROUPS: &str = "/sys/fs/cgroup";
/// Looks after which it is asked anew which group has a limit, and how much: about every ten seconds.
const ANEW: u32 = 100;

/// What is used of what may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) used: u64,
    pub(super) limit: u64,
    /// Whose limit it is.
    pub(super) whose: &'static str,
}

/// Reads usage again and again.
#[derive(Debug, Default)]
pub(super) struct Gauge {
    /// The control group with the least to spare, and its limit.
    group: Option<(PathBuf, u64)>,
    /// Looks until it is looked for again.
    left: u32,
}

impl Gauge {
    /// Against `limit`, or without one against the control group's; `None` where there is neither, or it cannot be read.
    pub(super) fn read(&mut self, limit: Option<u64>) -> Option<Usage> {
        if let Some(limit) = limit {
            return Some(Usage {
                used: resident()?,
                limit,
                whose: "this process",
            });
        }
        if self.left == 0 {
            self.left = ANEW;
            self.group = group(
                Path::new(GROUPS),
                &fs::read_to_string("/proc/self/cgroup").ok()?,
            );
        }
        self.left -= 1;
        let (folder, limit) = self.group.as_ref()?;
        Some(Usage {
            used: used(folder)?,
            limit: *limit,
            whose: "its control group",
        })
    }
}

/// Resident memory of this process.
fn resident() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// The group with the least limit of those that the process is in, from its own up to the outermost, and that limit.
/// `root` is where groups are found, `own` the text of `/proc/self/cgroup`.
fn group(root: &Path, own: &str) -> Option<(PathBuf, u64)> {
    let path = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // Within a container the path may be that of the machine, which is not seen there.
    let folder = root.join(path);
    let folder = if folder.is_dir() {
        folder
    } else {
        root.to_owned()
    };
    let each = folder.ancestors().take_while(|one| one.starts_with(root));
    let limits = each.filter_map(|one| {
        let text = fs::read_to_string(one.join("memory.max")).ok()?;
        // `max` stands for none.
        Some((one.to_owned(), text.trim().parse::<u64>().ok()?))
    });
    limits.min_by_key(|(_, limit)| *limit)
}

/// What a group uses, without caches of files that nobody used lately: those go before anybody is killed.
fn used(folder: &Path) -> Option<u64> {
    let current = fs::read_to_string(folder.join("memory.current")).ok()?;
    let current: u64 = current.trim().parse().ok()?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let idle = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file "));
    let idle = idle.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
    Some(current.saturating_sub(idle))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own that is removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("plimsoll-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn write(&self, name: &str, text: &str) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn the_process_knows_what_it_holds() {
        let usage = Gauge::default().read(Some(1 << 40)).unwrap();
        assert!(usage.used > 1 << 20, "{usage:?}");
        assert_eq!(usage.limit, 1 << 40);
    }

    #[test]
    fn the_least_limit_of_a_group_and_those_around_it_counts() {
        let folder = Folder::new("groups");
        folder.write("memory.max", "max\n");
        folder.write("a/memory.max", "1000\n");
        folder.write("a/b/memory.max", "2000\n");
        folder.write("a/memory.current", "900\n");
        folder.write(
            "a/memory.stat",
            "anon 500\ninactive_file 300\nactive_file 100\n",
        );
        let own = "1:name=systemd:/x\n0::/a/b\n";
        let (found, limit) = group(&folder.0, own).unwrap();
        assert_eq!(
            (found.as_path(), limit),
            (folder.0.join("a").as_path(), 1000)
        );
        assert_eq!(used(&found), Some(600));
        // Of a group that is not seen here, the outermost that is.
        assert_eq!(group(&folder.0, "0::/elsewhere\n"), None);
        folder.write("memory.max", "5000\n");
        let (_, limit) = group(&folder.0, "0::/elsewhere\n").unwrap();
        assert_eq!(limit, 5000);
        assert_eq!(group(&folder.0, "5:memory:/old\n"), None);
    }
}
