//! Private servers that really run, and what is left of those that were killed.

use std::{
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Child,
};

use tempfile::TempDir;

use super::{Account, Places, PrivateServer, PrivateServerError, programs::Programs};
use crate::store::Store;

fn data_dir() -> TempDir {
    tempfile::Builder::new().prefix("resin-own-").tempdir_in("/tmp").unwrap()
}

fn postmaster(dir: &Path) -> i32 {
    let text = fs::read_to_string(dir.join("cluster/postmaster.pid")).unwrap();
    text.lines().next().unwrap().parse().unwrap()
}

/// As after a SIGKILL of ours: the server runs, the lock is gone.
fn abandon(server: PrivateServer) {
    rustix::fs::flock(&server._lock, rustix::fs::FlockOperation::Unlock).unwrap();
    std::mem::forget(server);
}

async fn answers(server: &PrivateServer) {
    Store::open(server.url(), None).unwrap().ping().await.unwrap();
}

/// Any process of the server's user.
fn somebody() -> Child {
    let account = Account::to_run_as().unwrap();
    account.command(Path::new("sleep"), Path::new("/")).arg("60").spawn().unwrap()
}

#[tokio::test]
async fn a_server_that_was_left_behind_is_taken_over_and_what_it_held_is_there() {
    let dir = data_dir();
    let first = PrivateServer::start(dir.path()).await.unwrap();
    let store = Store::open(first.url(), None).unwrap();
    store.migrate().await.unwrap();
    store.ensure_default_platform(3).await.unwrap();
    let left = postmaster(dir.path());
    let refused = PrivateServer::start(dir.path()).await;
    assert!(matches!(refused, Err(PrivateServerError::InUse(_))), "two at once");
    abandon(first);

    let second = PrivateServer::start(dir.path()).await.unwrap();
    assert_ne!(postmaster(dir.path()), left);
    let store = Store::open(second.url(), None).unwrap();
    assert_eq!(store.configuration().await.unwrap().0[0].max_retries, 3);
    second.stop().await;
    assert!(!dir.path().join("cluster/postmaster.pid").exists());
}

#[tokio::test]
async fn neither_a_half_made_cluster_nor_a_number_that_is_used_again_keeps_it_from_starting() {
    let dir = data_dir();
    let half_made = dir.path().join("cluster.unfinished.1");
    fs::create_dir_all(half_made.join("base")).unwrap();
    let first = PrivateServer::start(dir.path()).await.unwrap();
    assert!(!half_made.exists());
    // Killed all together, and its number is somebody's now.
    let places = Places::in_dir(dir.path()).unwrap();
    let (pid_file, lock_file) =
        (places.cluster.join("postmaster.pid"), places.socket.join(".s.PGSQL.5432.lock"));
    let kept: Vec<(PathBuf, String)> =
        [pid_file, lock_file].map(|file| (file.clone(), fs::read_to_string(file).unwrap())).into();
    let old = postmaster(dir.path());
    first.stop().await;
    let mut somebody = somebody();
    for (file, text) in kept {
        fs::write(&file, text.replacen(&old.to_string(), &somebody.id().to_string(), 1)).unwrap();
        if let Some(user) = Account::to_run_as().unwrap().other() {
            chown(&file, Some(user.uid), Some(user.gid)).unwrap();
        }
    }

    let second = PrivateServer::start(dir.path()).await.unwrap();
    answers(&second).await;
    assert!(somebody.try_wait().unwrap().is_none(), "a process that is not ours was stopped");
    second.stop().await;
    somebody.kill().unwrap();
    somebody.wait().unwrap();
}

#[tokio::test]
async fn a_folder_with_any_characters_will_do() {
    let parent = data_dir();
    fs::set_permissions(parent.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let dir = parent.path().join("it's \"ours\" %41");
    let server = PrivateServer::start(&dir).await.unwrap();
    answers(&server).await;
    let socket = dir.join("pg").display().to_string().replace('\'', "'\\''");
    assert!(server.psql_line().contains(&format!("-h '{socket}' -U resin resin")), "{}", server.psql_line());
    server.stop().await;
}

#[test]
fn a_socket_path_that_is_too_long_names_its_setting_and_the_limit() {
    let long = Path::new("/tmp").join("x".repeat(100));
    let error = Places::in_dir(&long).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("RESIN_DATA_DIR") && error.contains("107"), "{error}");
    let longest = Path::new("/tmp").join("x".repeat(107 - "/tmp/".len() - "/pg/.s.PGSQL.5432".len()));
    assert!(Places::in_dir(&longest).is_ok());
}

#[test]
fn the_programs_are_those_of_one_version() {
    let programs = Programs::find().unwrap();
    assert_eq!(programs.initdb.parent(), programs.postgres.parent());
}
