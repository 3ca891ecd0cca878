//! The built program as a child process.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "tests; not every test file uses all of it")]

use std::ffi::OsStr;
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A running `backup`. Killed if it is dropped.
pub struct Child {
    process: std::process::Child,
    printed: Receiver<String>,
}

/// How a child ended, and all that it printed.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub printed: String,
}

impl Child {
    pub fn start<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>, variables: &[(&str, &OsStr)]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_backup"));
        let (mut reads, writes) = std::io::pipe().unwrap();
        // One pipe for both, so that the output reads as on a terminal.
        command.args(args).envs(variables.iter().copied()).stdin(Stdio::null());
        command.stdout(writes.try_clone().unwrap()).stderr(writes);
        let process = command.spawn().unwrap();
        // The command holds the writing ends; while it lives here the pipe would never end.
        drop(command);
        let (tell, printed) = channel();
        std::thread::spawn(move || {
            let mut text = Vec::new();
            reads.read_to_end(&mut text).unwrap();
            let _ = tell.send(String::from_utf8_lossy(&text).into_owned());
        });
        Child { process, printed }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the end, but no longer than `limit`; `None` if it still runs.
    pub fn ended_within(&mut self, limit: Duration) -> Option<Ended> {
        match self.printed.recv_timeout(limit) {
            Ok(printed) => Some(Ended { status: self.process.wait().unwrap(), printed }),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the output was read already"),
        }
    }

    /// Waits for the end.
    pub fn ended(mut self) -> Ended {
        // Far more than any of these take on a slow machine; without a bound a hang would hang the whole gate.
        self.ended_within(Duration::from_secs(120)).expect("the child ends within two minutes")
    }

    /// `kill -9`. Returns when the process is gone.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Gone already, in most cases; both are then refused or return at once.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
