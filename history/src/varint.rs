//! LEB128 unsigned integers: seven bits per byte, least significant first. Small numbers dominate in record headers.

use crate::codec::DecodeError;

pub(crate) fn write(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Room for a length that is known only when its value is written behind it. Returns where it is, for [`fill`].
pub(crate) fn leave_room(out: &mut Vec<u8>) -> usize {
    out.push(0);
    out.len() - 1
}

/// Fills the room at `at` with the number of bytes behind it and `more`. Most are less than 128, for which one byte is
/// enough; else what stands behind is moved.
pub(crate) fn fill(out: &mut Vec<u8>, at: usize, more: usize) {
    let (end, len) = (out.len(), out.len() - at - 1 + more);
    if len < 0x80 {
        out[at] = len as u8;
        return;
    }
    write(out, len as u64);
    let width = out.len() - end;
    out[at + 1..].rotate_right(width);
    out.remove(at);
}

/// Reads one integer and moves `bytes` past it. Refuses a form longer than needed, so that equal values are equal bytes.
pub(crate) fn read(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut value = 0u64;
    for (index, &byte) in bytes.iter().enumerate() {
        let part = u64::from(byte & 0x7f);
        if index == 9 && byte > 1 {
            return Err(DecodeError::Varint);
        }
        value |= part << (7 * index);
        if byte & 0x80 == 0 {
            if index > 0 && byte == 0 {
                return Err(DecodeError::Varint);
            }
            *bytes = &bytes[index + 1..];
            return Ok(value);
        }
    }
    Err(DecodeError::Truncated)
}

/// Reads `len` bytes and moves `bytes` past them.
pub(crate) fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], DecodeError> {
    if bytes.len() < len {
        return Err(DecodeError::Truncated);
    }
    let (head, tail) = bytes.split_at(len);
    *bytes = tail;
    Ok(head)
}

/// Reads a length that must not pass `max`, checked before anything is allocated for it.
pub(crate) fn read_len(bytes: &mut &[u8], max: usize, what: &'static str) -> Result<usize, DecodeError> {
    let len = read(bytes)?;
    match usize::try_from(len) {
        Ok(len) if len <= max => Ok(len),
        _ => Err(DecodeError::TooLarge { what, bytes: len, max }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_integer_reads_back_and_leaves_the_rest(value: u64, rest in proptest::collection::vec(any::<u8>(), 0..4)) {
            let mut out = Vec::new();
            write(&mut out, value);
            out.extend(&rest);
            let mut bytes = out.as_slice();
            prop_assert_eq!(read(&mut bytes).unwrap(), value);
            prop_assert_eq!(bytes, rest.as_slice());
        }

        #[test]
        fn a_length_that_was_filled_in_stands_where_a_written_one_would(behind in 0usize..40_000, more in 0usize..300) {
            let behind: Vec<u8> = (0..behind).map(|at| at as u8).collect();
            let mut written = vec![1, 2];
            write(&mut written, (behind.len() + more) as u64);
            written.extend(&behind);
            let mut filled = vec![1, 2];
            let at = leave_room(&mut filled);
            filled.extend(&behind);
            fill(&mut filled, at, more);
            prop_assert_eq!(filled, written);
        }

        #[test]
        fn any_bytes_are_read_or_refused_and_what_is_read_is_canonical(noise in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut bytes = noise.as_slice();
            if let Ok(value) = read(&mut bytes) {
                let mut out = Vec::new();
                write(&mut out, value);
                prop_assert_eq!(&noise[..noise.len() - bytes.len()], out.as_slice());
            }
        }
    }

    #[test]
    fn a_padded_integer_is_refused() {
        assert!(matches!(read(&mut [0x80, 0x00].as_slice()), Err(DecodeError::Varint)));
    }
}
