//! Bounds of everything that is written. Each is checked before memory is taken for it.

/// Largest payload in bytes. Above it a workflow should store the data elsewhere and pass a reference.
pub const PAYLOAD_MAX_BYTES: usize = 2 * 1024 * 1024;
/// Largest encoded event in bytes; it has room for one payload of the largest size and what surrounds it.
pub const EVENT_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Payloads above this many bytes are kept by digest beside the events, so that folding and listing never carry them.
pub const PAYLOAD_INLINE_MAX_BYTES: usize = 16 * 1024;
/// Deepest nesting that the decoder follows. Our own types need 12; the bound keeps hostile bytes off the stack.
pub const DEPTH_MAX: usize = 64;
/// Longest name (workflow id, activity type, queue, signal, worker) in bytes.
pub const NAME_MAX_BYTES: usize = 255;
/// Longest free text (failure message, cancel reason, report line) in bytes; longer text is cut at a character border.
pub const TEXT_MAX_BYTES: usize = 4 * 1024;
/// Largest segment body in bytes: the engine closes a batch well before it (see `engine::Config::segment_bytes`).
pub const SEGMENT_MAX_BYTES: usize = 64 * 1024 * 1024;

/// Cuts `text` to [`TEXT_MAX_BYTES`] at a character border, marking the cut.
pub fn bounded_text(text: &str) -> String {
    if text.len() <= TEXT_MAX_BYTES {
        return text.to_owned();
    }
    let mut end = TEXT_MAX_BYTES - '…'.len_utf8();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}
