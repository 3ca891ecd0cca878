//! LEB128, as in records.

use antiphon_history::DecodeError;

pub(crate) fn write(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8 & 0x7f) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Reads a number below 2^56: lengths, counts and keys stay far below.
pub(crate) fn read(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0u64;
    for shift in (0..).step_by(7) {
        let byte = take(bytes, 1)?[0];
        if shift == 56 || (shift > 0 && byte == 0) {
            return Err(DecodeError::Varint);
        }
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    Ok(value)
}

/// Reads a length that must not pass `max`.
pub(crate) fn read_len(bytes: &mut &[u8], max: usize, what: &'static str) -> Result<usize, DecodeError> {
    let value = read(bytes)?;
    match usize::try_from(value) {
        Ok(len) if len <= max => Ok(len),
        _ => Err(DecodeError::TooLarge { what, bytes: value, max }),
    }
}

/// Reads `len` bytes and moves `bytes` past them.
pub(crate) fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], DecodeError> {
    let (head, tail) = bytes.split_at_checked(len).ok_or(DecodeError::Truncated)?;
    *bytes = tail;
    Ok(head)
}
