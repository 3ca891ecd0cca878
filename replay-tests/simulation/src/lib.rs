//! Deterministic simulation: the pure engine, a store, workers, callers and time in one thread, driven by one seed.
//!
//! ```text
//!  seed ──▶ Plan: faults that exist, programs, acts ──▶ World ──▶ every run must end ──▶ oracles
//!                      ▲                                 │ Partition::check behind every input
//!                      └──────── shrink ◀── broken ──────┘ Book: every durable event; ledger; model; replays
//! ```
//!
//! | file | does |
//! |---|---|
//! | `plan.rs`, `program.rs` | what a seed means |
//! | `interpret.rs`, `combine.rs` | carries a program out on the engine's futures |
//! | `world.rs`, `acts.rs`, `workers.rs`, `callers.rs` | what happens, as between engine and store in the runtime |
//! | `store.rs`, `recorded.rs` | where segments go: a model, or the recorder's stores |
//! | `wide.rs`, `pullers.rs`, `jobs.rs` | what some seeds have besides: workers that ask, routines, operators |
//! | `deep.rs`, `rules.rs`, `settle.rs`, `deaths.rs`, `edges.rs`, `routes.rs`, `calendar.rs` | and of dispatch: rules of queues, dead letters, deaths, ends of leases, routes, cron |
//! | `book.rs`, `activity.rs`, `lines.rs`, `letters.rs`, `talk.rs`, `told.rs`, `pulled.rs`, `vain.rs`, `entities.rs`, `slots.rs`, `model.rs`, `life.rs` | the oracles |
//! | `shrink.rs`, `campaign.rs` | what is done about a seed that breaks something, and many seeds |
//!
//! Nothing here reads a clock or draws from outside but `campaign.rs`, which counts minutes.

mod activity;
mod acts;
mod book;
mod broken;
mod calendar;
mod callers;
mod campaign;
mod combine;
mod deaths;
mod deep;
mod edges;
mod encode;
mod entities;
#[cfg(feature = "planted")]
pub mod faults;
mod interpret;
mod jobs;
mod letters;
mod life;
mod lines;
mod model;
mod plan;
mod program;
mod pulled;
mod pullers;
mod recorded;
mod rng;
mod routes;
mod rules;
mod settle;
mod shrink;
mod slots;
mod sometimes;
mod store;
mod talk;
mod told;
mod trace;
mod vain;
mod wide;
mod workers;
mod world;

pub use broken::Broken;
pub use campaign::{Bounds, Campaign, campaign};
pub use life::{Life, Look, StoreKind, live};
pub use plan::Plan;
pub use shrink::shrunk;
pub use sometimes::Sometimes;
