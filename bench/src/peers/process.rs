//! Processes that talk in lines. Every wait has an end, and nothing outlives its owner.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A process under way. It is killed if it is dropped before its end.
pub(super) struct Process {
    child: Child,
    lines: Receiver<String>,
    log: PathBuf,
    name: String,
}

/// What came of waiting for a line.
pub(super) enum Next {
    Line(String),
    /// It prints no more.
    Over,
    /// The time was over first.
    Late,
}

impl Process {
    /// Starts a process whose output is read and whose error output goes to the file `log`.
    pub(super) fn start(mut command: Command, log: &Path) -> Result<Process, Box<dyn Error>> {
        command.stdout(Stdio::piped()).stderr(File::create(log)?);
        Process::spawn(command, log, |child| child.stdout.take().map(|out| Box::new(out) as Box<dyn Read + Send>))
    }

    /// Starts a process whose error output is read; it prints nothing else that matters.
    pub(super) fn start_reading_errors(mut command: Command, log: &Path) -> Result<Process, Box<dyn Error>> {
        command.stdout(File::create(log)?).stderr(Stdio::piped());
        Process::spawn(command, log, |child| child.stderr.take().map(|out| Box::new(out) as Box<dyn Read + Send>))
    }

    /// Starts a process that is not listened to; both outputs go to the file `log`.
    pub(super) fn start_unheard(mut command: Command, log: &Path) -> Result<Process, Box<dyn Error>> {
        let file = File::create(log)?;
        command.stdout(file.try_clone()?).stderr(file);
        Process::spawn(command, log, |_| None)
    }

    fn spawn(
        mut command: Command,
        log: &Path,
        heard: impl FnOnce(&mut Child) -> Option<Box<dyn Read + Send>>,
    ) -> Result<Process, Box<dyn Error>> {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut child =
            command.stdin(Stdio::null()).spawn().map_err(|error| format!("{name} could not be started: {error}"))?;
        let (sender, lines) = channel();
        if let Some(out) = heard(&mut child) {
            // Ends with the process, or when nobody listens any more.
            std::thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        Ok(Process { child, lines, log: log.to_owned(), name })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line until `end`.
    pub(super) fn next(&self, end: Instant) -> Next {
        match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(line) => Next::Line(line),
            Err(RecvTimeoutError::Timeout) => Next::Late,
            Err(RecvTimeoutError::Disconnected) => Next::Over,
        }
    }

    /// Waits for a line that `found` takes.
    ///
    /// Errors: the process ended or `limit` was over first.
    pub(super) fn until<T>(&mut self, limit: Duration, found: impl Fn(&str) -> Option<T>) -> Result<T, Box<dyn Error>> {
        let end = Instant::now() + limit;
        loop {
            match self.next(end) {
                Next::Line(line) => {
                    if let Some(value) = found(&line) {
                        return Ok(value);
                    }
                }
                Next::Over => {
                    self.finish()?;
                    return Err(format!("{} ended too early", self.name).into());
                }
                Next::Late => return Err(format!("{} did not answer within {limit:?}", self.name).into()),
            }
        }
    }

    /// Waits for the end of a process that prints no more.
    ///
    /// Errors: it ended with a failure; the end of its log is told.
    pub(super) fn finish(&mut self) -> Result<(), Box<dyn Error>> {
        let status = self.child.wait()?;
        if status.success() {
            return Ok(());
        }
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let last: Vec<&str> = log.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
        let last = last.into_iter().rev().collect::<Vec<_>>().join(" / ");
        Err(format!("{} ended with {status}: {last}", self.name).into())
    }

    /// Ends it as `kill -9` does.
    pub(super) fn kill(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start(command, &folder.path().join("log")).unwrap()
    }

    #[test]
    fn lines_are_read_until_the_process_ends() {
        let mut process = shell("echo one; echo two");
        assert_eq!(process.until(Duration::MAX / 4, |line| (line == "two").then_some(2)).unwrap(), 2);
        assert!(process.until(Duration::MAX / 4, |_| None::<()>).unwrap_err().to_string().contains("ended too early"));
    }

    #[test]
    fn a_silent_process_is_late() {
        assert!(matches!(shell("exec tail -f /dev/null").next(Instant::now()), Next::Late));
    }

    #[test]
    fn a_failure_is_told_with_the_end_of_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no such table >&2; exit 3"]);
        let mut process = Process::start(command, &folder.path().join("log")).unwrap();
        let error = process.finish().unwrap_err().to_string();
        assert!(error.contains("no such table") && error.contains('3'), "{error}");
    }
}
