//! Finding PostgreSQL's programs, and the account to run them as.

use std::{
    env, fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

const OLDEST: u32 = 14;

/// The programs of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Programs {
    pub(super) initdb: PathBuf,
    pub(super) postgres: PathBuf,
    pub(super) psql: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ProgramsError {
    #[error(
        "no PostgreSQL server programs (initdb, postgres) of version {OLDEST} or newer were found: install them \
         (Debian: postgresql; Fedora: postgresql-server; Homebrew: postgresql), or name a database in \
         RESIN_DATABASE_URL"
    )]
    NotFound,
    #[error("PostgreSQL may not run as root, and there is neither a user `postgres` nor a user `nobody`")]
    NoAccount,
}

impl Programs {
    /// The newest installation in the places where packages put them, else what is on the PATH.
    pub(super) fn find() -> Result<Self, ProgramsError> {
        let mut folders: Vec<(u32, PathBuf)> = places()
            .into_iter()
            .filter(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
            .filter_map(|folder| version(&folder.join("postgres")).map(|version| (version, folder)))
            .filter(|(version, _)| *version >= OLDEST)
            .collect();
        folders.sort_by_key(|(version, _)| *version);
        let (_, folder) = folders.pop().ok_or(ProgramsError::NotFound)?;
        let psql = folder.join("psql");
        Ok(Self {
            initdb: folder.join("initdb"),
            postgres: folder.join("postgres"),
            psql: if psql.is_file() { psql } else { PathBuf::from("psql") },
        })
    }
}

fn places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    for parent in ["/usr/lib/postgresql", "/usr/local/pgsql", "/opt/homebrew/opt", "/usr/local/opt"] {
        let versions = fs::read_dir(parent).into_iter().flatten().flatten();
        places.extend(versions.map(|version| version.path().join("bin")));
    }
    places.extend(["/usr/local/pgsql/bin", "/usr/pgsql/bin"].map(PathBuf::from));
    places.extend((OLDEST..OLDEST + 10).map(|version| PathBuf::from(format!("/usr/pgsql-{version}/bin"))));
    places.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    places
}

/// `postgres (PostgreSQL) 15.4 (Debian …)`.
fn version(postgres: &Path) -> Option<u32> {
    let output = Command::new(postgres).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let number = text.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))?;
    number.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Whom the server runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Account {
    Ourselves,
    /// We are root, which PostgreSQL refuses.
    Other(User),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Account {
    pub(super) fn to_run_as() -> Result<Self, ProgramsError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self::Ourselves);
        }
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let user = ["postgres", "nobody"].into_iter().find_map(|name| find_user(&users, name));
        user.map(Self::Other).ok_or(ProgramsError::NoAccount)
    }

    pub(super) fn other(&self) -> Option<&User> {
        match self {
            Self::Ourselves => None,
            Self::Other(user) => Some(user),
        }
    }
}

impl User {
    /// Whether this user may go through a folder.
    pub(super) fn can_pass(&self, folder: &fs::Metadata) -> bool {
        let mode = folder.mode();
        let needed = match (folder.uid() == self.uid, folder.gid() == self.gid) {
            (true, _) => 0o100,
            (false, true) => 0o010,
            (false, false) => 0o001,
        };
        mode & needed != 0
    }
}

fn find_user(users: &str, name: &str) -> Option<User> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(User { name: name.to_owned(), uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_read_from_passwd() {
        let users = "root:x:0:0::/root:/bin/sh\npostgres:x:101:104:PostgreSQL,,,:/var/lib/postgresql:/bin/bash\n";
        let postgres = User { name: "postgres".to_owned(), uid: 101, gid: 104 };
        assert_eq!(find_user(users, "postgres"), Some(postgres));
        assert_eq!(find_user(users, "post"), None);
    }

    #[test]
    fn the_programs_of_this_machine_are_found() {
        let programs = Programs::find().unwrap();
        assert!(programs.initdb.is_file() && programs.postgres.is_file());
    }
}
