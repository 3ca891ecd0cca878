use crate::measure::{Row, Usage};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// The raw limit: append 4 KiB and fdatasync, one after the other. No durable answer can be faster.
pub(crate) fn append_and_sync(folder: &Path) -> std::io::Result<Row> {
    const TIMES: usize = 300;
    let path = folder.join("raw");
    let mut file = std::fs::File::create(&path)?;
    let block = [7u8; 4096];
    let before = Usage::now();
    let mut micros = Vec::with_capacity(TIMES);
    for _ in 0..TIMES {
        let started = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        micros.push(started.elapsed().as_micros() as u64);
    }
    let row = Row::new("raw append+fdatasync", TIMES, TIMES, &before, micros, TIMES as u64);
    std::fs::remove_file(path)?;
    Ok(row)
}
