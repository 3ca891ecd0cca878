//! A victim as the harness holds it: a process, its two streams, and the ways to end it.

use crate::Error;
use crate::words::FromVictim;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

/// How victims are started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// This very program.
    pub program: PathBuf,
    /// A program that starts ours, with its arguments: a tracer.
    pub under: Vec<OsString>,
    /// The store.
    pub store: PathBuf,
    /// Further arguments of the victim.
    pub args: Vec<String>,
    /// How many worker processes run its bodies. 0: it does so itself.
    pub workers: u32,
    /// The fault that is planted in it.
    pub planted: Option<String>,
    /// Where its panics go.
    pub errors: PathBuf,
}

/// What a look at a victim found.
#[derive(Debug)]
pub enum Heard<W> {
    /// A line.
    Said(W),
    /// Nothing until then.
    Silence,
    /// It has ended.
    Gone,
}

/// A running victim. Dropping it kills it.
#[derive(Debug)]
pub struct Victim<W = FromVictim> {
    child: Child,
    stdin: Option<ChildStdin>,
    said: Receiver<Result<W, String>>,
}

impl Launch {
    /// Victims of this program on a store, with everything else as usual.
    pub fn new(store: &Path, errors: &Path) -> Result<Launch, Error> {
        let program = std::env::current_exe().map_err(Error::io("looking for this program"))?;
        Ok(Launch {
            program,
            under: Vec::new(),
            store: store.to_owned(),
            args: Vec::new(),
            workers: 0,
            planted: None,
            errors: errors.to_owned(),
        })
    }

    /// Starts one.
    pub fn start(&self) -> Result<Victim, Error> {
        self.start_as("victim")
    }

    /// Starts another part of this program in its place.
    pub fn start_as(&self, role: &str) -> Result<Victim, Error> {
        self.start_words(role)
    }

    /// Starts a part that has words of its own.
    pub fn start_words<W: DeserializeOwned + Send + 'static>(&self, role: &str) -> Result<Victim<W>, Error> {
        let mut words = self.under.iter().cloned().chain([self.program.clone().into_os_string()]);
        let first = words.next().unwrap_or_default();
        let errors = OpenOptions::new().create(true).append(true).open(&self.errors);
        let mut command = Command::new(&first);
        command.args(words).arg(role).arg(&self.store).args(&self.args);
        if self.workers > 0 {
            command.arg(format!("--workers={}", self.workers));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(errors.map_err(Error::io("opening the file for panics"))?);
        command.env_remove(VARIABLE);
        // Peers log where their words are read.
        command.env("RUST_LOG", "off");
        if let Some(planted) = &self.planted {
            command.env(VARIABLE, planted);
        }
        // A group of its own: a tracer does not take what it traces with it when it is killed.
        command.process_group(0);
        let doing = || format!("starting {}", first.display());
        let mut child = command.spawn().map_err(Error::io(doing()))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stdout = stdout.ok_or_else(|| Error::Garbled("no output".to_owned()))?;
        let (say, said) = channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines();
            // A line that a kill tore has no end to it and no successor.
            while let Some(Ok(line)) = lines.next() {
                let word = serde_json::from_str(&line).map_err(|_| line);
                if say.send(word).is_err() {
                    return;
                }
            }
        });
        Ok(Victim { child, stdin, said })
    }
}

/// The name of the variable that plants a fault. Written out: without the feature nobody else knows it.
const VARIABLE: &str = "ANTIPHON_PLANTED";

impl<W> Victim<W> {
    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its next line, at most until `until`.
    pub fn next(&mut self, until: Instant) -> Result<Heard<W>, Error> {
        match self.said.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Ok(word)) => Ok(Heard::Said(word)),
            // Torn by a kill, if it is the last; anything else is not ours to read.
            Ok(Err(line)) => match self.said.recv() {
                Err(_) => Ok(Heard::Gone),
                Ok(_) => Err(Error::Garbled(line)),
            },
            Err(RecvTimeoutError::Timeout) => Ok(Heard::Silence),
            Err(RecvTimeoutError::Disconnected) => Ok(Heard::Gone),
        }
    }

    /// Tells it something. A dead one hears nothing, which is no error.
    pub fn tell(&mut self, word: &impl Serialize) {
        if let (Some(stdin), Ok(mut line)) = (&mut self.stdin, serde_json::to_vec(word)) {
            line.push(b'\n');
            let _ = stdin.write_all(&line);
        }
    }

    /// `kill -9`, and what it had said by then. When this returns the process is gone and its files are closed.
    pub fn kill(mut self) -> Result<Vec<W>, Error> {
        self.signal(Signal::KILL);
        let mut last = Vec::new();
        // Its end of the pipe closes with its last thread, also where our child is the tracer.
        while let Ok(word) = self.said.recv() {
            last.extend(word.ok());
        }
        self.child.wait().map_err(Error::io("waiting for a killed process"))?;
        Ok(last)
    }

    /// Freezes it, or lets it go on.
    pub fn pause(&self, paused: bool) {
        self.signal(if paused { Signal::STOP } else { Signal::CONT });
    }

    /// To the process and to what it may have started. One that is gone hears nothing.
    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl<W> Drop for Victim<W> {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::KILL);
        }
        let _ = self.child.wait();
    }
}
