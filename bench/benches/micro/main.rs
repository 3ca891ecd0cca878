//! Micro benches of the parts, without threads, callers or (but for one) a disk: `cargo bench -p antiphon-bench`.
//!
//! | file | what is measured | by way of |
//! |---|---|---|
//! | `codec` | events to bytes and back | `Record`, `SegmentBody`; the codec itself is private to its crate |
//! | `step` | the life of one activity in the engine | `Partition::step`, driven by hand |
//! | `fold` | catalogue rows, chains of segments, archive batches | `CatalogueRow`, `Segment`, `Archive::fold` in memory and on SQLite, which packs |
//! | `route` | the choice of a worker among a thousand, by a route request | `engine::router::route` |
//! | `replay` | histories of 1,000 and 10,000 activities against their code | `engine::replay`, `HistoryFile::read` |

mod codec;
mod fold;
mod made;
mod replay;
mod route;
mod step;

fn main() {
    divan::main();
}
