//! A victim under `strace`: its system calls counted, and the n-th of one kind on one file made to fail.

use crate::Error;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What happens to a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// The process is killed in it.
    Kill,
    /// It fails with this, once.
    Once(&'static str),
    /// It fails with this from then on.
    Always(&'static str),
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Kill => f.write_str("kills"),
            Fate::Once(error) => write!(f, "fails with {error}"),
            Fate::Always(error) => write!(f, "fails with {error} from then on"),
        }
    }
}

/// Calls of one kind on one file of the store.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Target {
    /// The system call.
    pub call: String,
    /// The file's name; empty for the folder itself.
    pub file: String,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.call, if self.file.is_empty() { "." } else { &self.file })
    }
}

/// Everything by which a store is read and changed.
const CALLS: &str =
    "pread64,pwrite64,write,fsync,fdatasync,ftruncate,openat,rename,renameat,renameat2,unlink,unlinkat,mkdir";

/// Why there is nothing to trace with; `None` if there is.
pub fn missing() -> Option<String> {
    match Command::new("strace").args(["-o", "/dev/null", "-f", "--seccomp-bpf", "true"]).output() {
        Ok(done) if done.status.success() => None,
        Ok(done) => Some(String::from_utf8_lossy(&done.stderr).trim().to_owned()),
        Err(error) => Some(error.to_string()),
    }
}

/// Writes down all calls on files, with their paths, to `trace`.
pub fn counting(trace: &Path) -> Vec<OsString> {
    let mut words = tracer(trace);
    words.extend(["-y".into(), "-e".into(), format!("trace={CALLS}").into()]);
    words
}

/// Makes the `number`-th such call of a thread meet its fate.
pub fn injecting(store: &Path, target: &Target, number: u64, fate: Fate) -> Vec<OsString> {
    let mut words = tracer(Path::new("/dev/null"));
    let path = if target.file.is_empty() { store.to_owned() } else { store.join(&target.file) };
    let what = match fate {
        Fate::Kill => format!("signal=SIGKILL:when={number}"),
        Fate::Once(error) => format!("error={error}:when={number}"),
        Fate::Always(error) => format!("error={error}:when={number}+"),
    };
    let call = &target.call;
    words.extend(["-P".into(), path.into(), "-e".into(), format!("trace={call}").into()]);
    words.extend(["-e".into(), format!("inject={call}:{what}").into()]);
    words
}

/// Makes every sync of a file take this much longer.
pub fn slow(delay_ms: u64) -> Vec<OsString> {
    let mut words = tracer(Path::new("/dev/null"));
    words.extend(["-e".into(), "trace=fdatasync,fsync".into()]);
    words.extend(["-e".into(), format!("inject=fdatasync,fsync:delay_enter={}", delay_ms * 1_000).into()]);
    words
}

fn tracer(output: &Path) -> Vec<OsString> {
    let quiet = ["strace", "-f", "--seccomp-bpf", "-qqq", "-o"];
    quiet.iter().map(OsString::from).chain([output.as_os_str().to_owned()]).collect()
}

/// One call of a trace.
#[derive(Clone, Debug)]
pub struct Call {
    /// The thread.
    pub thread: String,
    /// What.
    pub target: Target,
    /// The rest of its line.
    pub rest: String,
}

/// The calls of a trace on files of `store`, in order.
pub fn calls(trace: &Path, store: &Path) -> Result<Vec<Call>, Error> {
    let text = std::fs::read(trace).map_err(Error::io("reading a trace"))?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter_map(|line| read(line, store)).collect())
}

/// `123 pwrite64(7</store/log.db-wal>, …`, `123 openat(AT_FDCWD</>, "/store/head.new", …`.
fn read(line: &str, store: &Path) -> Option<Call> {
    let (thread, rest) = line.split_once(' ')?;
    let (call, rest) = rest.trim_start().split_once('(')?;
    if call.contains(' ') {
        return None;
    }
    let named = matches!(call, "openat" | "rename" | "renameat" | "renameat2" | "unlink" | "unlinkat" | "mkdir");
    let path = match named {
        true => rest.split('"').nth(1)?,
        false => rest.split_once('<')?.1.split('>').next()?,
    };
    let below = PathBuf::from(path).strip_prefix(store).ok()?.to_string_lossy().into_owned();
    let target = Target { call: call.to_owned(), file: below };
    Some(Call { thread: thread.to_owned(), target, rest: rest.to_owned() })
}

/// How often the busiest thread makes each kind of call.
pub fn counts(calls: &[Call]) -> BTreeMap<Target, u64> {
    let mut threads = BTreeMap::<(&str, &Target), u64>::new();
    for call in calls {
        *threads.entry((&call.thread, &call.target)).or_default() += 1;
    }
    let mut most = BTreeMap::new();
    for ((_, target), count) in threads {
        let known: &mut u64 = most.entry(target.clone()).or_default();
        *known = count.max(*known);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_trace_says_which_call_on_which_file() {
        let read = |line| read(line, Path::new("/s")).map(|call| call.target.to_string());
        assert_eq!(
            read("12 pwrite64(7</s/log.db-wal>, \"\\0\"..., 4096, 0) = 4096"),
            Some("pwrite64(log.db-wal)".into())
        );
        assert_eq!(
            read("12 openat(AT_FDCWD</>, \"/s/head.new\", O_WRONLY) = 5</s/head.new>"),
            Some("openat(head.new)".into())
        );
        assert_eq!(read("12 fsync(9</s> <unfinished ...>"), Some("fsync(.)".into()));
        assert_eq!(read("12 <... fsync resumed>) = 0"), None);
        assert_eq!(read("12 write(1<pipe:[77]>, \"x\", 1) = 1"), None);
        assert_eq!(read("12 openat(AT_FDCWD</>, \"/etc/x\", O_RDONLY) = 5"), None);
    }

    #[test]
    fn counts_are_those_of_the_busiest_thread() {
        let line = |line| read(line, Path::new("/s")).unwrap();
        let calls = [line("1 fsync(9</s>)"), line("2 fsync(9</s>)"), line("2 fsync(9</s>)")];
        assert_eq!(counts(&calls).into_values().collect::<Vec<_>>(), [2]);
    }
}
