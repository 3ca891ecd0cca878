//! Another process that does what it is told: this test binary once more, with a role.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "tests; not every test file uses all of it")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

const ROLE: &str = "ANTIPHON_TEST_ROLE";
const FOLDER: &str = "ANTIPHON_TEST_FOLDER";

/// A running process. Killed if it is dropped.
pub struct Process {
    child: Child,
    says: BufReader<ChildStdout>,
    told: ChildStdin,
}

/// Inside the other process: its role and folder. `None` in the tests themselves.
pub fn role() -> Option<(String, std::path::PathBuf)> {
    Some((std::env::var(ROLE).ok()?, std::env::var_os(FOLDER)?.into()))
}

/// Inside the other process: says a word to the tests.
pub fn say(word: &str) {
    println!("\nsaid {word}");
}

/// Inside the other process: waits until it is told to go on, or the tests are gone.
pub fn wait() {
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
}

/// The command that runs this test binary's test `entry` in a role. Put words before it to run it under something.
pub fn command(before: &[&str], entry: &str, role: &str, folder: &Path) -> Command {
    let this = std::env::current_exe().unwrap();
    let mut words = before.iter().map(std::ffi::OsString::from).chain([this.into_os_string()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words).args([entry, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(ROLE, role).env(FOLDER, folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

impl Process {
    /// Starts one.
    pub fn start(entry: &str, role: &str, folder: &Path) -> Process {
        Process::of(&mut command(&[], entry, role, folder)).unwrap()
    }

    /// Starts a prepared command.
    pub fn of(command: &mut Command) -> std::io::Result<Process> {
        let mut child = command.spawn()?;
        let (says, told) = (BufReader::new(child.stdout.take().unwrap()), child.stdin.take().unwrap());
        Ok(Process { child, says, told })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next word that it says; `None` when it has ended.
    pub fn word(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.says.read_line(&mut line).unwrap() > 0 {
            if let Some(word) = line.trim_end().strip_prefix("said ") {
                return Some(word.to_owned());
            }
            line.clear();
        }
        None
    }

    /// Waits for a word, and panics if it says another or ends.
    pub fn expect(&mut self, word: &str) {
        assert_eq!(self.word().as_deref(), Some(word));
    }

    /// Tells it to go on.
    pub fn go_on(&mut self) {
        self.told.write_all(b"\n").unwrap();
        self.told.flush().unwrap();
    }

    /// Sends a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().unwrap();
        assert!(sent.success(), "{name}");
    }

    /// Waits for its end. True if it went well.
    pub fn ended(mut self) -> bool {
        while self.word().is_some() {}
        self.child.wait().unwrap().success()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
