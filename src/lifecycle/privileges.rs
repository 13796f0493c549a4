//! Becoming another user, once all is bound that only root may bind.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{
    Gid, Group, Uid, User, getegid, geteuid, getgrouplist, initgroups, setgid, setgroups, setuid,
};

use crate::config::Config;

/// Why the process cannot become who it should.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    #[error("user: there is no user `{0}`")]
    NoUser(String),
    #[error("group: there is no group `{0}`")]
    NoGroup(String),
    #[error("{key}: `{name}` cannot be looked up: {source}")]
    LookUp {
        key: &'static str,
        name: String,
        source: nix::Error,
    },
    #[error("user: cannot become `{name}`: {source}; only root can")]
    Denied { name: String, source: nix::Error },
    #[error("user: root could be taken back after becoming `{0}`, which must not be")]
    Reversible(String),
}

/// Whether the process has root's rights for good, as far as is known.
pub fn stays_root(config: &Config) -> bool {
    let identity = Identity::find(config);
    identity.is_ok_and(|identity| identity.is_none_or(|identity| identity.uid.is_root()))
}

/// Whom the process becomes.
#[derive(Debug)]
pub(super) struct Identity {
    name: String,
    uid: Uid,
    gid: Gid,
    /// Whether the further groups of the user come with it.
    has_groups: bool,
}

impl Identity {
    /// Finds out who that is, before anything is bound. `None`: nothing is asked for.
    pub(super) fn find(config: &Config) -> Result<Option<Self>, PrivilegeError> {
        let Some(name) = &config.user else {
            return Ok(None);
        };
        let known = User::from_name(name).map_err(|source| PrivilegeError::LookUp {
            key: "user",
            name: name.clone(),
            source,
        })?;
        let (uid, gid) = match (known, name.parse()) {
            (Some(user), _) => (user.uid, user.gid),
            // A container often knows nobody by name.
            (None, Ok(number)) => (Uid::from_raw(number), Gid::from_raw(number)),
            (None, Err(_)) => return Err(PrivilegeError::NoUser(name.clone())),
        };
        let group = config.group.as_deref().map(group).transpose()?;
        Ok(Some(Self {
            name: name.clone(),
            uid,
            gid: group.unwrap_or(gid),
            has_groups: group.is_none(),
        }))
    }

    /// Becomes it, with all threads that there are, for good.
    pub(super) fn assume(&self) -> Result<(), PrivilegeError> {
        if geteuid() == self.uid && getegid() == self.gid {
            return Ok(());
        }
        self.change().map_err(|source| PrivilegeError::Denied {
            name: self.name.clone(),
            source,
        })?;
        // Were a saved identity left, whoever takes over the process would take root, too.
        if !self.uid.is_root() && setuid(Uid::from_raw(0)).is_ok() {
            return Err(PrivilegeError::Reversible(self.name.clone()));
        }
        Ok(())
    }

    /// The numbers of the user and the group.
    pub(super) fn numbers(&self) -> (u32, u32) {
        (self.uid.as_raw(), self.gid.as_raw())
    }

    /// Whether it may read a file, by modes and owners of the file and of the folders above it; `None` where these cannot
    /// be looked at.
    pub(super) fn may_read(&self, file: &Path) -> Option<bool> {
        const READ: u32 = 4;
        const SEARCH: u32 = 1;
        let file = file.canonicalize().ok()?;
        let groups = self.groups();
        for (depth, path) in file.ancestors().enumerate() {
            let found = path.metadata().ok()?;
            let wanted = if depth == 0 { READ } else { SEARCH };
            let owners = (found.uid(), found.gid());
            if !is_allowed(self.uid.as_raw(), &groups, owners, found.mode(), wanted) {
                return Some(false);
            }
        }
        Some(true)
    }

    fn groups(&self) -> Vec<u32> {
        let name = std::ffi::CString::new(self.name.as_str()).unwrap_or_default();
        let further = self.has_groups.then(|| getgrouplist(&name, self.gid));
        let further = further.and_then(Result::ok).unwrap_or_default();
        let all = further.into_iter().chain([self.gid]);
        all.map(Gid::as_raw).collect()
    }

    /// Groups first: a user that is not root may not change them any more.
    fn change(&self) -> nix::Result<()> {
        let name = std::ffi::CString::new(self.name.as_str()).unwrap_or_default();
        if self.has_groups {
            initgroups(&name, self.gid)?;
        } else {
            setgroups(&[self.gid])?;
        }
        setgid(self.gid)?;
        setuid(self.uid)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Whether a user with these groups has all bits of `wanted` (`rwx`): the first class that it belongs to decides alone.
fn is_allowed(
    user: u32,
    groups: &[u32],
    (owner, group): (u32, u32),
    mode: u32,
    wanted: u32,
) -> bool {
    let bits = if user == 0 {
        return true;
    } else if user == owner {
        mode >> 6
    } else if groups.contains(&group) {
        mode >> 3
    } else {
        mode
    };
    bits & wanted == wanted
}

fn group(name: &str) -> Result<Gid, PrivilegeError> {
    let known = Group::from_name(name).map_err(|source| PrivilegeError::LookUp {
        key: "group",
        name: name.to_owned(),
        source,
    })?;
    match (known, name.parse()) {
        (Some(group), _) => Ok(group.gid),
        (None, Ok(number)) => Ok(Gid::from_raw(number)),
        (None, Err(_)) => Err(PrivilegeError::NoGroup(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(user: Option<&str>, group: Option<&str>) -> Result<Option<Identity>, PrivilegeError> {
        Identity::find(&Config {
            user: user.map(str::to_owned),
            group: group.map(str::to_owned),
            ..Config::default()
        })
    }

    #[test]
    fn the_first_class_that_a_user_belongs_to_decides() {
        for (mode, user, groups, expected) in [
            (0o600, 0, &[][..], true),
            (0o600, 7, &[0], false),
            (0o640, 7, &[7, 33], true),
            (0o640, 7, &[7], false),
            (0o604, 7, &[33], false),
            (0o604, 7, &[7], true),
            (0o046, 5, &[33], false),
            (0o400, 5, &[], true),
        ] {
            let allowed = is_allowed(user, groups, (5, 33), mode, 4);
            assert_eq!(allowed, expected, "{mode:o} {user} {groups:?}");
        }
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        assert!(find(None, None).unwrap().is_none());
        let root = find(Some("root"), None).unwrap().unwrap();
        assert!(root.uid.is_root() && root.gid.as_raw() == 0 && root.has_groups);
        let number = find(Some("4711"), Some("4712")).unwrap().unwrap();
        assert_eq!((number.uid.as_raw(), number.gid.as_raw()), (4711, 4712));
        assert!(!number.has_groups);
        assert!(matches!(
            find(Some("no such user"), None),
            Err(PrivilegeError::NoUser(_))
        ));
        assert!(matches!(
            find(Some("root"), Some("no such group")),
            Err(PrivilegeError::NoGroup(_))
        ));
    }

    #[test]
    fn who_it_is_already_needs_no_change() {
        let own = Identity {
            name: "own".to_owned(),
            uid: geteuid(),
            gid: getegid(),
            has_groups: true,
        };
        own.assume().unwrap();
    }
}
