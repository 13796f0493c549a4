//! Becoming another user, once all is bound that only root may bind.

use nix::unistd::{Gid, Group, Uid, User, getegid, geteuid, initgroups, setgid, setgroups, setuid};

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
