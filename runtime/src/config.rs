/// Bounds and waits of a runtime. Every queue has a bound here and every wait its length, with its unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// The engine's own bounds.
    pub engine: antiphon_engine::Config,
    /// Requests of callers that may wait for the engine. Above it they are refused as overloaded, and may be retried.
    pub inbox_max: usize,
    /// Most bytes of such requests, with their payloads. Above it they are refused in the same way.
    pub inbox_max_bytes: usize,
    /// Durable segments that may wait for the archive. Above it commits wait for the archive to catch up.
    pub backlog_segments: usize,
    /// The archive takes durable segments over at most this often, in milliseconds.
    pub archive_every_ms: u64,
    /// The anchor is written at most this often, in milliseconds: what a cut tail of the log can hide without being
    /// found at open.
    pub anchor_every_ms: u64,
    /// The first wait before a store that failed is opened again, in milliseconds; it doubles up to `reopen_max_ms`.
    pub reopen_first_ms: u64,
    /// The longest wait before a store that failed is opened again, in milliseconds.
    pub reopen_max_ms: u64,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            engine: antiphon_engine::Config::default(),
            // As many small requests as the byte bound allows.
            inbox_max: 16_384,
            inbox_max_bytes: 8 * 1024 * 1024,
            backlog_segments: 1_024,
            archive_every_ms: 200,
            anchor_every_ms: 100,
            reopen_first_ms: 50,
            reopen_max_ms: 5_000,
        }
    }
}
