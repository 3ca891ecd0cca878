use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

/// How a process ended, for the record: `exit code 3`, `signal 9 (SIGKILL)`.
pub(crate) fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => match name(signal) {
            Some(name) => format!("signal {signal} ({name})"),
            None => format!("signal {signal}"),
        },
        (None, None) => "an unknown end".to_owned(),
    }
}

/// The names of the signals whose numbers are the same on every Unix.
fn name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_signals_are_told_apart_and_named() {
        assert_eq!(words(ExitStatus::from_raw(3 << 8)), "exit code 3");
        assert_eq!(words(ExitStatus::from_raw(0)), "exit code 0");
        assert_eq!(words(ExitStatus::from_raw(6)), "signal 6 (SIGABRT)");
        assert_eq!(words(ExitStatus::from_raw(11 | 0x80)), "signal 11 (SIGSEGV)", "with a core dump");
        assert_eq!(words(ExitStatus::from_raw(40)), "signal 40");
    }
}
