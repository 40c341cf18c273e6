//! The time that a proxy's own processes have run, and the memory they hold.

use std::{fs, ops::Sub};

/// Nanoseconds of CPU time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    pub user: f64,
    pub system: f64,
}

impl Cpu {
    pub fn total(self) -> f64 {
        self.user + self.system
    }
}

/// What a process and its children have run so far: to the nanosecond, and in the kernel's coarser split.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    ran: f64,
    user_ticks: f64,
    system_ticks: f64,
}

impl Sub for Clock {
    type Output = Cpu;

    fn sub(self, before: Self) -> Cpu {
        let ran = (self.ran - before.ran).max(0.0);
        let (user, system) = (self.user_ticks - before.user_ticks, self.system_ticks - before.system_ticks);
        let share = if user + system > 0.0 { user / (user + system) } else { 0.5 };
        Cpu { user: ran * share, system: ran * (1.0 - share) }
    }
}

/// A process and its descendants; PostgreSQL's are nobody's.
#[derive(Debug, Clone)]
pub struct Family(pub Vec<u32>);

impl Family {
    pub fn of(root: u32) -> Self {
        let all: Vec<(u32, u32)> =
            numbers("/proc").into_iter().filter_map(|pid| Some((pid, parent(pid)?))).collect();
        let mut family = vec![root];
        let mut next = 0;
        while next < family.len() {
            let of = family[next];
            family.extend(all.iter().filter(|(_, parent)| *parent == of).map(|(pid, _)| pid));
            next += 1;
        }
        Self(family)
    }

    pub fn clock(&self) -> Clock {
        self.0.iter().fold(Clock::default(), |sum, pid| {
            let (user, system) = ticks(*pid).unwrap_or_default();
            Clock {
                ran: sum.ran + ran(*pid),
                user_ticks: sum.user_ticks + user,
                system_ticks: sum.system_ticks + system,
            }
        })
    }

    /// Threads whose names begin so.
    pub fn threads(&self, name: &str) -> Vec<u32> {
        let all = self.0.iter().flat_map(|pid| {
            let tasks = format!("/proc/{pid}/task");
            numbers(&tasks).into_iter().map(move |task| (format!("{tasks}/{task}/comm"), task))
        });
        let is_called = |comm: &str| fs::read_to_string(comm).is_ok_and(|text| text.starts_with(name));
        all.filter(|(comm, _)| is_called(comm)).map(|(_, task)| task).collect()
    }

    /// Files and sockets that are open.
    pub fn descriptors(&self) -> usize {
        self.0.iter().map(|pid| numbers(&format!("/proc/{pid}/fd")).len()).sum()
    }

    /// Bytes of memory, those that processes share counted once.
    pub fn memory(&self) -> u64 {
        self.0.iter().filter_map(|pid| proportional(*pid)).sum()
    }
}

fn numbers(dir: &str) -> Vec<u32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The fields of /proc/PID/stat that follow the name, which may hold anything.
fn stat(pid: u32) -> Option<(String, Vec<String>)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (name, rest) = text.split_once('(')?.1.rsplit_once(") ")?;
    Some((name.to_owned(), rest.split_whitespace().map(str::to_owned).collect()))
}

fn parent(pid: u32) -> Option<u32> {
    let (name, fields) = stat(pid)?;
    if name == "postgres" { None } else { fields.get(1)?.parse().ok() }
}

fn ticks(pid: u32) -> Option<(f64, f64)> {
    let (_, fields) = stat(pid)?;
    Some((fields.get(11)?.parse().ok()?, fields.get(12)?.parse().ok()?))
}

fn ran(pid: u32) -> f64 {
    let of_task = |task: &u32| -> Option<f64> {
        let text = fs::read_to_string(format!("/proc/{pid}/task/{task}/schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    numbers(&format!("/proc/{pid}/task")).iter().filter_map(of_task).sum()
}

fn proportional(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with("Pss:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_split_as_the_kernel_splits_it() {
        let before = Clock { ran: 100.0, user_ticks: 1.0, system_ticks: 1.0 };
        let cpu = Clock { ran: 500.0, user_ticks: 4.0, system_ticks: 2.0 } - before;
        assert_eq!((cpu.user, cpu.system, cpu.total()), (300.0, 100.0, 400.0));
    }

    #[test]
    fn a_process_of_our_own_has_run_and_holds_memory() {
        let me = Family(vec![std::process::id()]);
        assert!(me.clock().ran > 0.0);
        assert!(me.memory() > 0);
    }
}
