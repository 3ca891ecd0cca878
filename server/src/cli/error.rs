use super::View;
use super::output::{Paint, Style, clean};
use antiphon_engine::LoadError;
use antiphon_history::HistoryFileError;
use antiphon_runtime::OperateError;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What came of a command. The numbers are part of the command line's contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// It was done, and what was looked at is sound.
    Done,
    /// It was done, and found a problem.
    Problem,
    /// The command line cannot be meant.
    Usage,
    /// The store or file cannot be opened, read or written.
    Unreadable,
    /// There is no such run, queue, worker, routine or the like.
    NotFound,
    /// What was asked for is refused as things stand. Nothing was written.
    Refused,
}

impl Exit {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Problem => 1,
            Exit::Usage => 2,
            Exit::Unreadable => 3,
            Exit::NotFound => 4,
            Exit::Refused => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store cannot be read; see its own code.
    #[error(transparent)]
    Store(#[from] antiphon_recorder::Error),
    /// The store was looked at to find damage, and so much is damaged that looking came to an end; see its own code.
    #[error("{0}")]
    Damaged(#[source] antiphon_recorder::Error),
    /// A0021. Nothing in the store has this name.
    #[error("{store} has no run {run:?}: `antiphon list {store}` shows what it has [A0021]")]
    NoSuchRun {
        /// The store.
        store: String,
        /// What was asked for.
        run: String,
    },
    /// A0040. More than one run has an id with this part.
    #[error("{part:?} is part of several run ids: {}; give more of the one you mean [A0040]", .ids.join(", "))]
    Ambiguous {
        /// What was asked for.
        part: String,
        /// Some of the run ids, at most four.
        ids: Vec<String>,
    },
    /// A0041. The file cannot be read or written. A file that was there is as it was.
    #[error("cannot {doing} {path}: {source} [A0041]")]
    File {
        /// `read` or `write`.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A0042. The file is there already; it is as it was.
    #[error("{path} exists already: give another name, or --force to replace it [A0042]")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file is no sound history; see its own code.
    #[error("{path}: {source}")]
    History {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: HistoryFileError,
    },
    /// What a store gave is no sound history; see its own code.
    #[error("run {run} of {store}: {source}")]
    Run {
        /// The store.
        store: String,
        /// The run.
        run: String,
        /// What is wrong with it.
        source: HistoryFileError,
    },
    /// The run cannot be looked at as an engine would; see the error's own code.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A0063. The store has nothing of this name.
    #[error("{store} has no {what} {name:?} [A0063]")]
    NoSuch {
        /// The store.
        store: String,
        /// Of what kind.
        what: &'static str,
        /// What was asked for.
        name: String,
    },
    /// A0061. Only the code of the workflow could tell whether it may be so. Nothing was written.
    #[error(
        "this program has no code of workflow {workflow_type:?}, which is to say whether it can read its input: use the command line of the program that has it, or do it in that program [A0061]"
    )]
    NeedsCode {
        /// The workflow type.
        workflow_type: String,
    },
    /// An operation on the store was refused or failed; see its own code.
    #[error(transparent)]
    Operate(Box<OperateError>),
    /// Stdout cannot be written. A reader that closed the pipe is no error.
    #[error("cannot write the output: {0}")]
    Output(#[source] std::io::Error),
}

impl Error {
    /// The store has nothing of this name.
    pub(super) fn no_such(store: &Path, what: &'static str, name: &str) -> Error {
        Error::NoSuch { store: store.display().to_string(), what, name: name.to_owned() }
    }

    /// The stable code that stands at the end of the text, if it has one.
    pub fn code(&self) -> Option<String> {
        let text = self.to_string();
        let (_, tail) = text.rsplit_once('[')?;
        let code = tail.strip_suffix(']')?;
        let digits = code.strip_prefix('A')?;
        (digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| code.to_owned())
    }

    /// What the process says with its exit code.
    pub fn exit(&self) -> Exit {
        match self {
            Error::Store(_) | Error::File { .. } | Error::Output(_) => Exit::Unreadable,
            Error::NoSuchRun { .. } | Error::NoSuch { .. } => Exit::NotFound,
            Error::Ambiguous { .. } | Error::Exists { .. } => Exit::Usage,
            Error::NeedsCode { .. } => Exit::Refused,
            Error::Operate(error) => match &**error {
                OperateError::Refused(_) => self.exit_of_refusal(),
                _ => Exit::Unreadable,
            },
            Error::Damaged(_) | Error::Load(_) | Error::History { .. } | Error::Run { .. } => Exit::Problem,
        }
    }

    /// Of what the engine refused: what is not there, what cannot be meant, and what is against its rules now.
    fn exit_of_refusal(&self) -> Exit {
        match self.code().as_deref() {
            Some("A0021" | "A0045" | "A0049" | "A0056") => Exit::NotFound,
            Some("A0012" | "A0015" | "A0016" | "A0017" | "A0035" | "A0039" | "A0048") => Exit::Usage,
            _ => Exit::Refused,
        }
    }

    /// Prints to stderr: the error in one line, and where to read on in another.
    pub(super) fn print(&self, view: &View) {
        let stderr = std::io::stderr();
        let style = Style { color: view.wants_color(&stderr, stderr.is_terminal()), ..view.style() };
        let mut text = format!("{}: {}\n", style.paint(Paint::Bad, "error"), clean(&self.to_string()));
        if let Some(code) = self.code() {
            text.push_str(&format!("{}: docs/errors/{code}.md\n", style.paint(Paint::Name, "help")));
        }
        // If stderr is gone there is nobody to tell; the exit code still says it.
        let _ = stderr.lock().write_all(text.as_bytes());
    }
}
