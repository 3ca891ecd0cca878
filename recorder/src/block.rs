//! Blocks: what one batch adds to the histories of several runs, squeezed together because they are much alike.
//!
//! ```text
//!  block = version 1, entry…, squeezed as one piece
//!  entry = varint run, varint previous block, varint first record, varint records, varint payload names,
//!          varint length of the records, (varint length, record)…, (32-byte digest)…
//! ```
//!
//! A run's row names its last block, and each of its entries the block before, so a history is read from its end and
//! needs no index. A block has a run once.

use crate::pack::Packed;
use crate::squeeze::{squeeze, unsqueeze};
use crate::{Error, varint};
use antiphon_history::limits::SEGMENT_MAX_BYTES;
use antiphon_history::{DecodeError, RunKey};
use std::borrow::Cow;

const VERSION: u8 = 1;

/// A block is closed when it has this many bytes. More would shrink little further, and whoever loads one run opens the
/// whole block.
const BLOCK_BYTES: usize = 32 * 1024;

/// Most bytes of an opened block: a full one, and behind it one record as large as a segment may be.
const BLOCK_MAX_BYTES: usize = SEGMENT_MAX_BYTES + 2 * BLOCK_BYTES;

/// What a block has of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    pub(crate) run: RunKey,
    /// The block with the run's records before these; 0 if no block has any.
    pub(crate) previous: u64,
    /// The number of the first record, from 1.
    pub(crate) first: u64,
    count: u64,
    framed: &'a [u8],
    payloads: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The records.
    pub(crate) fn packed(&self) -> Result<Packed, DecodeError> {
        Packed::of_parts(self.count, self.framed, self.payloads)
    }

    fn read(bytes: &mut &'a [u8]) -> Result<Entry<'a>, DecodeError> {
        let run = RunKey(varint::read(bytes)?);
        let (previous, first, count) = (varint::read(bytes)?, varint::read(bytes)?, varint::read(bytes)?);
        let names = varint::read_len(bytes, bytes.len(), "list of payload names")?;
        let len = varint::read_len(bytes, bytes.len(), "list of records")?;
        let framed = varint::take(bytes, len)?;
        let payloads = varint::take(bytes, names * 32)?;
        Ok(Entry { run, previous, first, count, framed, payloads })
    }
}

/// Opens a block as it is kept.
pub(crate) fn open(kept: &[u8]) -> Result<Cow<'_, [u8]>, DecodeError> {
    let bytes = unsqueeze(kept, BLOCK_MAX_BYTES)?;
    match bytes.first() {
        Some(&VERSION) => Ok(bytes),
        Some(&found) => Err(DecodeError::Version { found: u64::from(found), known: VERSION }),
        None => Err(DecodeError::Truncated),
    }
}

/// The entries of an opened block. After an error nothing follows.
pub(crate) fn entries(opened: &[u8]) -> impl Iterator<Item = Result<Entry<'_>, DecodeError>> {
    let mut rest = opened.get(1..).unwrap_or_default();
    std::iter::from_fn(move || {
        let entry = (!rest.is_empty()).then(|| Entry::read(&mut rest))?;
        if entry.is_err() {
            rest = &[];
        }
        Some(entry)
    })
}

/// What an opened block has of `run`.
pub(crate) fn entry_of(opened: &[u8], run: RunKey) -> Result<Option<Entry<'_>>, DecodeError> {
    entries(opened).find(|entry| entry.as_ref().map_or(true, |entry| entry.run == run)).transpose()
}

/// Fills blocks one after the other. `keep` gets each with its number.
pub(crate) struct BlockWriter<K> {
    /// The number of the block that is being filled.
    number: u64,
    bytes: Vec<u8>,
    kept: bool,
    keep: K,
}

impl<K: FnMut(u64, &[u8]) -> Result<(), Error>> BlockWriter<K> {
    /// Begins with the block `number`, from 1.
    pub(crate) fn new(number: u64, keep: K) -> BlockWriter<K> {
        BlockWriter { number, bytes: vec![VERSION], kept: false, keep }
    }

    /// Adds a run's new records, of which the first has the number `first`, behind those in block `previous`. Returns
    /// the block that has the last of them.
    pub(crate) fn add(&mut self, run: RunKey, previous: u64, first: u64, packed: &Packed) -> Result<u64, Error> {
        if packed.framed().len() <= BLOCK_BYTES {
            return self.put(run, previous, first, packed);
        }
        let (mut previous, mut first) = (previous, first);
        for piece in packed.pieces(BLOCK_BYTES) {
            if previous == self.number {
                self.close()?;
            }
            previous = self.put(run, previous, first, &piece)?;
            first += piece.count();
        }
        Ok(previous)
    }

    /// Closes the last block: an empty one only if the batch has no other. Returns the number that is next.
    pub(crate) fn finish(mut self) -> Result<u64, Error> {
        if self.bytes.len() > 1 || !self.kept {
            self.close()?;
        }
        Ok(self.number)
    }

    fn put(&mut self, run: RunKey, previous: u64, first: u64, packed: &Packed) -> Result<u64, Error> {
        if self.bytes.len() >= BLOCK_BYTES {
            self.close()?;
        }
        let names = packed.payloads();
        for number in [run.0, previous, first, packed.count(), names.len() as u64, packed.framed().len() as u64] {
            varint::write(&mut self.bytes, number);
        }
        self.bytes.extend_from_slice(packed.framed());
        names.iter().for_each(|digest| self.bytes.extend_from_slice(&digest.0));
        Ok(self.number)
    }

    fn close(&mut self) -> Result<(), Error> {
        (self.keep)(self.number, &squeeze(&self.bytes))?;
        self.number += 1;
        self.kept = true;
        self.bytes.truncate(1);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use antiphon_history::Digest;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Blocks of `runs`, from block 5 on, and the last block of each run.
    fn write(runs: &[Packed]) -> (BTreeMap<u64, Vec<u8>>, Vec<u64>, u64) {
        let mut blocks = BTreeMap::new();
        let keep = |number, kept: &[u8]| {
            assert!(blocks.insert(number, kept.to_vec()).is_none());
            Ok(())
        };
        let mut writer = BlockWriter::new(5, keep);
        let add = |(index, packed): (usize, &Packed)| writer.add(RunKey(index as u64), 3, 10, packed).unwrap();
        let last = runs.iter().enumerate().map(add).collect();
        let next = writer.finish().unwrap();
        (blocks, last, next)
    }

    #[test]
    fn a_batch_without_runs_has_one_empty_block() {
        let (blocks, _, next) = write(&[]);
        assert_eq!((blocks.keys().copied().collect::<Vec<_>>(), next), (vec![5], 6));
        assert_eq!(entries(&open(&blocks[&5]).unwrap()).count(), 0);
    }

    proptest! {
        #[test]
        fn each_run_is_found_from_its_last_block_back_and_its_records_are_those_that_went_in(
            sizes in proptest::collection::vec(proptest::collection::vec(0..40_000usize, 1..5), 1..12)
        ) {
            let packed = |sizes: &Vec<usize>| {
                let mut packed = Packed::default();
                sizes.iter().for_each(|size| packed.push(&vec![*size as u8; *size]));
                packed.name(Digest([sizes.len() as u8; 32]));
                packed
            };
            let runs: Vec<Packed> = sizes.iter().map(packed).collect();
            let (blocks, last, next) = write(&runs);
            prop_assert_eq!(blocks.keys().copied().collect::<Vec<_>>(), (5..next).collect::<Vec<_>>());
            for (index, expected) in runs.iter().enumerate() {
                let (mut at, mut next_record, mut found, mut names) = (last[index], 10 + expected.count(), Vec::new(), Vec::new());
                while at != 3 {
                    let opened = open(&blocks[&at]).unwrap();
                    let entry = entry_of(&opened, RunKey(index as u64)).unwrap().unwrap();
                    let piece = entry.packed().unwrap();
                    prop_assert!(entry.previous < at);
                    next_record -= piece.count();
                    prop_assert_eq!(entry.first, next_record);
                    found.splice(0..0, piece.records().map(<[u8]>::to_vec));
                    names.extend_from_slice(piece.payloads());
                    at = entry.previous;
                }
                prop_assert_eq!(next_record, 10);
                prop_assert_eq!(found, expected.records().map(<[u8]>::to_vec).collect::<Vec<_>>());
                prop_assert_eq!(names, expected.payloads());
            }
        }

        #[test]
        fn noise_is_read_or_refused_but_never_panics(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [&[VERSION], &noise[..]].concat();
            for kept in [&noise, &bytes] {
                if let Ok(opened) = open(kept) {
                    entries(&opened).flatten().for_each(|entry| drop(entry.packed()));
                }
            }
        }
    }
}
