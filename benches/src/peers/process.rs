//! A proxy's process: started with its errors kept, ended with us.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Outcome, cpu::Family};

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// So much of a log is told where a peer does not start.
const LAST_WORDS: usize = 400;

/// Ended when it is dropped.
pub struct Process {
    child: Child,
    log: PathBuf,
    begun: Instant,
}

impl Process {
    /// What it writes to standard error goes to the log; standard output too, unless it is taken.
    pub fn spawn(command: &mut Command, log: &Path) -> Outcome<Self> {
        let file = fs::File::create(log)?;
        let program = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stderr(file);
        let begun = Instant::now();
        let child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        Ok(Self { child, log: log.to_owned(), begun })
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    pub fn family(&self) -> Family {
        Family::of(self.child.id())
    }

    pub fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Until it takes connections there; how long that took from its start.
    pub async fn listens(&mut self, address: SocketAddr) -> Outcome<Duration> {
        while TcpStream::connect(address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("it ended at once ({status}): {}", self.last_words()).into());
            }
            if self.age() > START {
                return Err(format!("it does not listen on {address}: {}", self.last_words()).into());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(self.age())
    }

    /// All that it wrote to standard error.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn last_words(&self) -> String {
        let text = self.log();
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let start = text.char_indices().rev().nth(LAST_WORDS).map_or(0, |(start, _)| start);
        text[start..].to_owned()
    }

    /// Asks it to end and waits.
    pub fn stop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let Some(pid) = pid.filter(|_| matches!(self.child.try_wait(), Ok(None))) else { return };
        let _may_have_ended = kill_process(pid, Signal::TERM);
        let begun = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            if begun.elapsed() > STOP {
                let _may_have_ended = self.child.kill().and_then(|()| self.child.wait().map(|_| ()));
                return;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Ports that were free a moment ago, for peers that cannot choose and tell.
pub fn free_ports(count: usize) -> Outcome<Vec<SocketAddr>> {
    let held: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect::<Result<_, _>>()?;
    Ok(held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
}

/// The number in what a program says of its version.
pub fn version(program: &str, flag: &str) -> Outcome<String> {
    let output = Command::new(program).arg(flag).output().map_err(|error| format!("{program}: {error}"))?;
    let text = [output.stdout, output.stderr].concat();
    let number = number_in(&String::from_utf8_lossy(&text));
    number.ok_or_else(|| format!("{program} {flag} names no version").into())
}

fn number_in(text: &str) -> Option<String> {
    let mut words = text.split(|letter: char| letter.is_whitespace() || letter == '/' || letter == ':');
    let number =
        words.find(|word| word.contains('.') && word.starts_with(|letter: char| letter.is_ascii_digit()));
    number.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_each_says() {
        for (text, number) in [
            ("HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/", "2.6.12-1+deb12u4"),
            ("nginx version: nginx/1.22.1", "1.22.1"),
            ("Squid Cache: Version 5.7\nService Name: squid", "5.7"),
            ("\nenvoy  version: 8fb2/1.40.0/Clean/RELEASE/BoringSSL", "1.40.0"),
            ("resin 0.1.0", "0.1.0"),
        ] {
            assert_eq!(number_in(text).as_deref(), Some(number));
        }
    }
}
