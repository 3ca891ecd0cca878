use crate::codec::DecodeError;
use crate::limits::{PAYLOAD_MAX_BYTES, SEGMENT_MAX_BYTES};
use crate::{Bytes, CatalogueRow, Digest, FoldError, Glance, payload_digest, varint};
use std::collections::BTreeMap;

/// First bytes of every history file.
const MAGIC: &[u8; 8] = b"ANTIPHN1";
/// Most bytes that a history file may have; a run of 50,000 activities takes about 20 MiB.
const FILE_MAX_BYTES: usize = 1024 * 1024 * 1024;

/// One run, complete: what `export` writes, what `replay` reads, what `fixtures/` keeps.
///
/// Magic, varint count and length-prefixed records in log order, payloads kept by digest, and the digest of the last
/// record. A changed, missing or moved byte of a record is found when the file is read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HistoryFile {
    /// The encoded records of all the run's streams, in the order of their appending.
    pub records: Vec<Bytes>,
    /// The payloads that the records name by digest.
    pub payloads: BTreeMap<Digest, Bytes>,
}

/// A file that is not a whole, unchanged history of one run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HistoryFileError {
    /// A0013. The first bytes are something else.
    #[error("this is not a history file: it does not begin with ANTIPHN1; export one with `antiphon export` [A0013]")]
    NotAHistory,
    /// A0014. The bytes cannot be read.
    #[error("the history file is damaged at byte {offset}: {source}; export it again [A0014]")]
    Damaged {
        /// Where reading stopped.
        offset: usize,
        /// What was found there.
        source: DecodeError,
    },
    /// A0014. The records read, but are not what was written.
    #[error(
        "the history file was altered: record {record} does not agree with the digest at its end; export it again [A0014]"
    )]
    Altered {
        /// How many records the file has.
        record: usize,
    },
    /// A0014. A payload's bytes are not what its name says.
    #[error(
        "the history file was altered: payload {digest:?} has other bytes than its name says; export it again [A0014]"
    )]
    Payload {
        /// The name.
        digest: Digest,
    },
    /// A0014. The records do not make one run.
    #[error("the history file does not hold one whole run: {0}; export it again [A0014]")]
    Fold(#[from] FoldError),
}

impl HistoryFile {
    /// The file's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        varint::write(&mut out, self.records.len() as u64);
        for record in &self.records {
            varint::write(&mut out, record.len() as u64);
            out.extend_from_slice(record);
        }
        varint::write(&mut out, self.payloads.len() as u64);
        for (digest, bytes) in &self.payloads {
            out.extend_from_slice(&digest.0);
            varint::write(&mut out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
        out.extend_from_slice(&self.tip().0);
        out
    }

    /// Reads and checks a file: framing, chain, payload digests, and that the records make one run.
    ///
    /// Takes memory of the order of the file's own size, whatever it claims.
    pub fn read(file: &[u8]) -> Result<HistoryFile, HistoryFileError> {
        let Some(mut rest) = file.strip_prefix(MAGIC.as_slice()) else { return Err(HistoryFileError::NotAHistory) };
        let total = rest.len();
        let (history, tip) = read_parts(&mut rest)
            .map_err(|source| HistoryFileError::Damaged { offset: MAGIC.len() + total - rest.len(), source })?;
        if history.tip() != tip {
            return Err(HistoryFileError::Altered { record: history.records.len() });
        }
        for (digest, bytes) in &history.payloads {
            if payload_digest(bytes) != *digest {
                return Err(HistoryFileError::Payload { digest: *digest });
            }
        }
        history.row()?;
        Ok(history)
    }

    /// The digest of the last record.
    pub fn tip(&self) -> Digest {
        self.records.iter().fold(Digest::START, |tip, record| Digest::of_record(tip, record))
    }

    /// The run's catalogue row, folded from the records.
    ///
    /// Errors: [`HistoryFileError::Damaged`] or [`HistoryFileError::Fold`] if the records do not make one run.
    pub fn row(&self) -> Result<CatalogueRow, HistoryFileError> {
        let mut row: Option<CatalogueRow> = None;
        let mut glance = Glance::default();
        for bytes in &self.records {
            glance.read(bytes).map_err(|source| HistoryFileError::Damaged { offset: 0, source })?;
            match &mut row {
                None => row = Some(CatalogueRow::begin_at_a_glance(&glance, bytes)?),
                Some(row) if row.key == glance.run() => row.apply_at_a_glance(&glance, bytes)?,
                Some(_) => return Err(FoldError::NoStart { run: glance.run() }.into()),
            }
        }
        row.ok_or(HistoryFileError::Damaged { offset: MAGIC.len(), source: DecodeError::Truncated })
    }
}

fn read_parts(rest: &mut &[u8]) -> Result<(HistoryFile, Digest), DecodeError> {
    if rest.len() > FILE_MAX_BYTES {
        let bytes = rest.len() as u64;
        return Err(DecodeError::TooLarge { what: "history file", bytes, max: FILE_MAX_BYTES });
    }
    let mut history = HistoryFile::default();
    for _ in 0..varint::read_len(rest, rest.len(), "list of records")? {
        let len = varint::read_len(rest, SEGMENT_MAX_BYTES, "record")?;
        history.records.push(varint::take(rest, len)?.into());
    }
    for _ in 0..varint::read_len(rest, rest.len(), "list of payloads")? {
        let digest = Digest::from_slice(varint::take(rest, 32)?).ok_or(DecodeError::Truncated)?;
        // As they are written: a history has one form, and no payload that another one hides.
        if history.payloads.last_key_value().is_some_and(|(last, _)| *last >= digest) {
            return Err(DecodeError::Order("payloads"));
        }
        let len = varint::read_len(rest, PAYLOAD_MAX_BYTES, "payload")?;
        history.payloads.insert(digest, varint::take(rest, len)?.into());
    }
    let tip = Digest::from_slice(varint::take(rest, 32)?).ok_or(DecodeError::Truncated)?;
    match rest.len() {
        0 => Ok((history, tip)),
        bytes => Err(DecodeError::Trailing { bytes }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Events, Record, RunEvent, RunId, RunKey, RunStarted, Timestamp};
    use std::sync::Arc;

    fn history() -> HistoryFile {
        let started = RunEvent::RunStarted(Arc::new(RunStarted {
            namespace: "default".into(),
            workflow_id: "w".into(),
            run_id: RunId([7; 16]),
            workflow_type: "t".into(),
            version: 1,
            input: vec![],
            semantics: 1,
            driver: "native".into(),
            request_id: None,
            routine: None,
        }));
        let record = Record { run: RunKey(1), first_seq: 1, at: Timestamp(5), events: Events::Run(vec![started]) };
        HistoryFile {
            records: vec![record.to_bytes().into()],
            payloads: BTreeMap::from([(payload_digest(b"large"), b"large".as_slice().into())]),
        }
    }

    #[test]
    fn a_file_reads_back_and_every_changed_or_missing_byte_is_found() {
        let bytes = history().to_bytes();
        assert_eq!(HistoryFile::read(&bytes).unwrap(), history());
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert!(HistoryFile::read(&changed).is_err(), "bit 0 of byte {index}");
            assert!(HistoryFile::read(&bytes[..index]).is_err(), "cut to {index} bytes");
        }
    }
}
