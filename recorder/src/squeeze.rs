//! Bytes that are kept smaller than they are: LZ4 blocks behind a tag and their length.
//!
//! What is kept begins with its own version, a byte below 128; a tag from 128 on says that it is squeezed. So bytes that
//! gain nothing stay as they are, and so do all that were kept before there was squeezing.

use antiphon_history::{DecodeError, planted};
use std::borrow::Cow;

/// LZ4, block format: one byte for the tag, four for the length (little-endian), then the block.
const LZ4: u8 = 0x80;
const HEAD_BYTES: usize = 5;

/// Fewer bytes than this are repeated too little to be worth the work: a lone activity's segment shrinks by a tenth.
const WORTH_BYTES: usize = 1024;

/// LZ4 makes at most 255 bytes of one, so a greater length is not believed and takes no memory.
const RATIO_MAX: usize = 255;

/// The form in which bytes are kept. They must begin with a byte below 128.
pub(crate) fn squeeze(bytes: &[u8]) -> Cow<'_, [u8]> {
    debug_assert!(bytes.first().is_none_or(|first| *first < LZ4), "squeezed bytes begin with their version");
    let Ok(len) = u32::try_from(bytes.len()) else { return Cow::Borrowed(bytes) };
    if bytes.len() < WORTH_BYTES {
        return Cow::Borrowed(bytes);
    }
    let mut out = vec![0; HEAD_BYTES + lz4_flex::block::get_maximum_output_size(bytes.len())];
    out[0] = LZ4;
    out[1..HEAD_BYTES].copy_from_slice(&len.to_le_bytes());
    let squeezed = lz4_flex::block::compress_into(bytes, &mut out[HEAD_BYTES..]);
    match squeezed.map(|squeezed| HEAD_BYTES + squeezed) {
        // An eighth at least, or reading would pay for nothing.
        Ok(kept) if kept <= bytes.len() - bytes.len() / 8 => {
            out.truncate(kept);
            Cow::Owned(out)
        }
        _ => Cow::Borrowed(bytes),
    }
}

/// The bytes as they were. Takes no more memory than `max`, and none that what is kept cannot fill.
pub(crate) fn unsqueeze(kept: &[u8], max: usize) -> Result<Cow<'_, [u8]>, DecodeError> {
    let Some((head, block)) = kept.split_at_checked(HEAD_BYTES).filter(|(head, _)| head[0] >= LZ4) else {
        return Ok(Cow::Borrowed(kept));
    };
    if head[0] != LZ4 {
        return Err(DecodeError::Header("an unknown way of squeezing"));
    }
    let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let max = max.min(block.len().saturating_mul(RATIO_MAX));
    if len > max && !planted!("length-not-bounded") {
        return Err(DecodeError::TooLarge { what: "squeezed value", bytes: len as u64, max });
    }
    let mut bytes = vec![0; len];
    match lz4_flex::block::decompress_into(block, &mut bytes) {
        Ok(found) if found == len => Ok(Cow::Owned(bytes)),
        _ => Err(DecodeError::Header("squeezed bytes do not come out at their length")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn much_of_the_same_shrinks_and_little_or_noise_stays_as_it_is() {
        let same = [1; 5_000];
        let kept = squeeze(&same);
        assert!(kept.len() < 100 && kept[0] == LZ4);
        assert_eq!(unsqueeze(&kept, 5_000).unwrap(), &same[..]);
        assert!(matches!(unsqueeze(&kept, 4_999), Err(DecodeError::TooLarge { .. })));
        assert_eq!(squeeze(&same[..WORTH_BYTES - 1]), &same[..WORTH_BYTES - 1]);
        let mut noise = vec![0; 4096];
        blake3::Hasher::new().finalize_xof().fill(&mut noise[1..]);
        assert_eq!(squeeze(&noise), noise);
    }

    #[test]
    fn a_length_that_the_bytes_cannot_fill_takes_no_memory() {
        let kept = [LZ4, 0xff, 0xff, 0xff, 0xff, 0x10, 7];
        assert!(matches!(unsqueeze(&kept, usize::MAX), Err(DecodeError::TooLarge { max: 510, .. })));
    }

    proptest! {
        #[test]
        fn bytes_come_back_and_changed_ones_are_others_or_refused_but_never_panic(
            piece in proptest::collection::vec(any::<u8>(), 1..200), times in 1..60usize, at: proptest::sample::Index, byte: u8
        ) {
            let mut bytes = piece.repeat(times);
            bytes[0] = 1;
            let mut kept = squeeze(&bytes).into_owned();
            prop_assert_eq!(unsqueeze(&kept, bytes.len()).unwrap(), &bytes[..]);
            let index = at.index(kept.len());
            kept[index] = byte;
            if let Ok(found) = unsqueeze(&kept, bytes.len()) {
                prop_assert!(found.len() <= bytes.len());
            }
        }
    }
}
