//! PostgreSQL of our own: one command is enough, as root and as anybody, and it goes when we go.

#![allow(clippy::unwrap_used)] // a broken expectation is a failed test

mod support;

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::Path,
};

use rustix::process::geteuid;
use support::{
    postgres::user,
    resin::{DEFAULTS, PROGRAM, Process, Resin, command_of, soon},
    world::{Origin, forward},
};
use tempfile::TempDir;
use tokio_postgres::NoTls;

fn data_dir() -> TempDir {
    tempfile::Builder::new().prefix("resin-own-").tempdir_in("/tmp").unwrap()
}

async fn start(dir: &Path, owner: Option<(u32, u32)>) -> Resin {
    let mut settings = DEFAULTS.to_vec();
    settings.extend([("RESIN_DATA_DIR", dir.to_str().unwrap()), ("RESIN_NODES", "direct://")]);
    let Some((uid, gid)) = owner else {
        return Resin::ready(Process::of(command_of(PROGRAM.as_ref(), &["serve"], &settings))).await;
    };
    // Where it was built may be closed to others.
    let program = dir.join("program");
    fs::copy(PROGRAM, &program).unwrap();
    chown(dir, Some(uid), Some(gid)).unwrap();
    let mut command = command_of(&program, &["serve"], &settings);
    command.uid(uid).gid(gid);
    command.current_dir("/");
    Resin::ready(Process::of(command)).await
}

/// The server's process, by its own account.
fn postmaster(dir: &Path) -> Option<i32> {
    let found = walk(dir).into_iter().find(|path| path.ends_with("postmaster.pid"))?;
    fs::read_to_string(found).ok()?.lines().next()?.parse().ok()
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .flat_map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { vec![entry.path()] })
        .collect()
}

/// A process that has ended and waits for a parent to notice is gone.
fn alive(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    stat.rsplit(") ").next().is_some_and(|rest| !rest.starts_with(['Z', 'X']))
}

async fn gone(pid: i32) {
    soon("the end of PostgreSQL", async {
        while alive(pid) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// As somebody who looks from outside, over the socket that is promised.
async fn records(dir: &Path) -> i64 {
    let socket = dir.join("pg");
    let conninfo = format!("host={} user=resin dbname=resin", socket.display());
    let (client, connection) = tokio_postgres::connect(&conninfo, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.query_one("select count(*) from request_logs", &[]).await.unwrap().get(0)
}

/// A life on a private server: made, used, stopped; then found again with what was in it.
async fn whole_life(owner: Option<(u32, u32)>) {
    let dir = data_dir();
    let origin = Origin::start().await;
    let first = start(dir.path(), owner).await;
    let server = postmaster(dir.path()).expect("a postmaster.pid below RESIN_DATA_DIR");
    assert!(alive(server));
    first.set_retries("Nimbus", 5).await;
    assert_eq!(forward(&first, "Nimbus", &origin.url("/")).await.0, 200);
    first.records_until(1).await;
    let psql = first.process.stderr_line("psql", |line| line.contains("psql")).await;
    assert!(psql.contains(&dir.path().join("pg").display().to_string()), "{psql}");

    assert_eq!(first.stop().await.code(), Some(0));
    gone(server).await;

    let second = start(dir.path(), owner).await;
    assert_eq!(second.grpc().platform("Nimbus").await.unwrap().max_retries, Some(5));
    assert_eq!(second.records_until(1).await.len(), 1);
    let server = postmaster(dir.path()).unwrap();
    assert_eq!(second.stop().await.code(), Some(0));
    gone(server).await;
}

#[tokio::test]
async fn one_command_is_enough_for_whoever_runs_the_tests() {
    whole_life(None).await;
}

#[tokio::test]
async fn it_works_for_a_normal_user() {
    if !geteuid().is_root() {
        return; // then the test above has shown it
    }
    whole_life(Some(user("nobody").unwrap())).await;
}

#[tokio::test]
async fn its_socket_is_where_it_was_promised_and_no_port_is_open() {
    let dir = data_dir();
    let resin = start(dir.path(), None).await;
    assert_eq!(records(dir.path()).await, 0);
    let account = walk(dir.path()).into_iter().find(|path| path.ends_with("postmaster.pid")).unwrap();
    let account = fs::read_to_string(account).unwrap();
    assert_eq!(account.lines().nth(5), Some(""), "it listens on TCP: {account}");
    assert!(resin.stop().await.success());
}

#[tokio::test]
async fn after_a_kill_the_next_start_takes_over_what_is_left() {
    let dir = data_dir();
    let origin = Origin::start().await;
    let first = start(dir.path(), None).await;
    let left = postmaster(dir.path()).unwrap();
    assert_eq!(forward(&first, "Default", &origin.url("/")).await.0, 200);
    first.records_until(1).await;
    first.kill().await;

    let second = start(dir.path(), None).await;
    assert_eq!(second.records_until(1).await.len(), 1);
    let now = postmaster(dir.path()).unwrap();
    if now != left {
        gone(left).await; // never two servers on one directory
    }

    assert_eq!(second.stop().await.code(), Some(0));
    gone(now).await;
    gone(left).await;
}

#[tokio::test]
async fn a_second_instance_on_the_same_directory_is_refused_and_harms_nothing() {
    let dir = data_dir();
    let first = start(dir.path(), None).await;
    let mut settings = DEFAULTS.to_vec();
    settings.push(("RESIN_DATA_DIR", dir.path().to_str().unwrap()));

    let ended = Process::spawn(&["serve"], &settings).ended().await;

    assert!(ended.status.code().is_some_and(|code| code != 0), "{ended:?}");
    assert!(!ended.stdout.contains(&"resin ready".to_owned()), "{ended:?}");
    assert!(alive(postmaster(dir.path()).unwrap()));
    first.set_retries("Nimbus", 1).await;
    assert_eq!(first.stop().await.code(), Some(0));
}
