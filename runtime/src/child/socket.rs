use super::link::{Link, LinkError};
use super::settings::WORKER_OF;
use antiphon_conversation::wire::{Frame, HEADER_BYTES, Header, WireError};
use rustix::fs::{FileType, fstat};
use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Frames over a stream socket.
#[derive(Debug)]
pub struct SocketLink {
    stream: UnixStream,
    reading: Mutex<BufReader<UnixStream>>,
    writing: Mutex<UnixStream>,
}

/// So many bytes of frames are written at once: large enough that small frames share a system call.
const CHUNK_BYTES: usize = 64 * 1024;

impl SocketLink {
    /// A link over a connected socket.
    pub fn new(stream: UnixStream) -> std::io::Result<SocketLink> {
        let (reading, writing) = (Mutex::new(BufReader::new(stream.try_clone()?)), Mutex::new(stream.try_clone()?));
        Ok(SocketLink { stream, reading, writing })
    }

    /// In a worker process: takes the link over from descriptor 0, and leaves an empty input in its place, so that neither
    /// the bodies nor processes that they start can disturb it.
    ///
    /// Errors: descriptor 0 is no socket; nothing was changed.
    pub fn from_stdin() -> std::io::Result<SocketLink> {
        if !stdin_is_a_socket() {
            return Err(std::io::Error::other("descriptor 0 is no socket"));
        }
        let link = rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), 3)?;
        rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
        SocketLink::new(UnixStream::from(link))
    }
}

/// Whose worker process this is: the name of the child worker, if an engine has started this process as one.
///
/// Asked of the environment and of descriptor 0, once: a program that a worker runs inherits the variable, but not the
/// socket, and is no worker.
pub fn worker_of() -> Option<&'static str> {
    static ASKED: OnceLock<Option<String>> = OnceLock::new();
    ASKED.get_or_init(|| std::env::var(WORKER_OF).ok().filter(|_| stdin_is_a_socket())).as_deref()
}

fn stdin_is_a_socket() -> bool {
    fstat(std::io::stdin()).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
}

impl Link for SocketLink {
    fn send(&self, frames: &[Frame]) -> Result<(), LinkError> {
        let mut writing = lock(&self.writing);
        let mut bytes = Vec::new();
        for frame in frames {
            frame.write(&mut bytes);
            if bytes.len() >= CHUNK_BYTES {
                writing.write_all(&bytes)?;
                bytes.clear();
            }
        }
        Ok(writing.write_all(&bytes)?)
    }

    fn receive(&self) -> Result<Option<Frame>, LinkError> {
        let mut reading = lock(&self.reading);
        let mut header = [0u8; HEADER_BYTES];
        // The end between two frames is an end, inside of one it is a break.
        let first = loop {
            match reading.read(&mut header) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(None),
                read => break read?,
            }
        };
        if first == 0 {
            return Ok(None);
        }
        reading.read_exact(&mut header[first..]).map_err(cut)?;
        let Header { kind, len } = Header::read(header)?;
        let mut body = vec![0u8; len];
        reading.read_exact(&mut body).map_err(cut)?;
        Ok(Some(Frame { kind, body }))
    }

    fn close(&self) {
        // Already closed by the other side: that is as good.
        let _ = self.stream.shutdown(Shutdown::Both);
    }
}

fn cut(error: std::io::Error) -> LinkError {
    match error.kind() {
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => WireError::Truncated.into(),
        _ => error.into(),
    }
}

// A thread that panicked over a link leaves bytes behind that the other side refuses.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
