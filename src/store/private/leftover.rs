//! What a killed instance leaves in its data directory: a server that still runs, or lock files that only look like it.
//!
//! Comes after the directory's lock was taken, so whatever is left belongs to nobody who lives.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::{Instant, sleep};

use super::{LOOK_AGAIN, Places, PrivateServerError, STOP_TIMEOUT};

impl Places {
    /// Stops the server that was left here, if there is one.
    pub(super) async fn stop_left_behind(&self) -> Result<(), PrivateServerError> {
        let Ok(text) = fs::read_to_string(self.pid_file()) else { return Ok(()) };
        let pid = text.lines().next().and_then(|line| line.trim().parse().ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { return Ok(()) };
        if !self.is_postmaster(pid) {
            self.remove_stale_locks(pid);
            return Ok(());
        }
        tracing::info!(
            pid = pid.as_raw_nonzero().get(),
            "stopping a private PostgreSQL that was left behind"
        );
        for signal in [Signal::INT, Signal::QUIT, Signal::KILL] {
            let _gone = kill_process(pid, signal);
            let late = Instant::now() + STOP_TIMEOUT / 2;
            while Instant::now() < late {
                if test_kill_process(pid).is_err() || !self.is_postmaster(pid) {
                    return Ok(());
                }
                sleep(LOOK_AGAIN).await;
            }
        }
        Err(PrivateServerError::LeftBehind(self.data_dir.clone()))
    }

    fn pid_file(&self) -> PathBuf {
        self.cluster.join("postmaster.pid")
    }

    /// Numbers are used again: the process must be a PostgreSQL that runs, and in this cluster.
    fn is_postmaster(&self, pid: Pid) -> bool {
        let Some(process) = Process::of(pid.as_raw_nonzero().get()) else {
            // No /proc: the server's own file is all there is to go by.
            return !Path::new("/proc/self").exists();
        };
        !process.has_ended() && self.is_here(&process).unwrap_or(false)
    }

    /// PostgreSQL does not start while the number in its files is that of any process of the same user. After a
    /// restart of a container it often is.
    fn remove_stale_locks(&self, pid: Pid) {
        if test_kill_process(pid).is_err() || self.may_be_in_use() {
            return;
        }
        for file in [self.pid_file(), self.socket.join(".s.PGSQL.5432.lock")] {
            let _absent = fs::remove_file(file);
        }
    }

    /// Server processes outlive a postmaster that was killed, for a moment.
    fn may_be_in_use(&self) -> bool {
        let Ok(processes) = fs::read_dir("/proc") else { return true };
        processes.flatten().filter_map(|entry| Process::of(entry.file_name().to_str()?.parse().ok()?)).any(
            |process| process.is_postgres() && !process.has_ended() && self.is_here(&process) != Some(false),
        )
    }

    /// None where it cannot be seen.
    fn is_here(&self, process: &Process) -> Option<bool> {
        let same = |path: &Path| {
            let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
            real(path) == real(&self.cluster)
        };
        // Root without CAP_SYS_PTRACE, as in most containers, cannot see another's folder, but how it was started.
        let folder = process.working_dir().or_else(|| process.cluster_argument())?;
        Some(same(&folder))
    }
}

/// A process, by its folder in `/proc`.
struct Process(PathBuf);

impl Process {
    fn of(pid: i32) -> Option<Self> {
        let folder = PathBuf::from(format!("/proc/{pid}"));
        folder.exists().then_some(Self(folder))
    }

    /// It waits for its parent to notice.
    fn has_ended(&self) -> bool {
        let stat = fs::read_to_string(self.0.join("stat")).unwrap_or_default();
        stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X']))
    }

    fn is_postgres(&self) -> bool {
        fs::read_to_string(self.0.join("comm")).is_ok_and(|name| name.trim() == "postgres")
    }

    fn working_dir(&self) -> Option<PathBuf> {
        fs::read_link(self.0.join("cwd")).ok()
    }

    /// `postgres -D <cluster>`, as we start it.
    fn cluster_argument(&self) -> Option<PathBuf> {
        let line = fs::read_to_string(self.0.join("cmdline")).ok()?;
        let mut words = line.split('\0').skip_while(|word| *word != "-D");
        words.nth(1).map(PathBuf::from)
    }
}
