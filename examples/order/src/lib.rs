//! A payment saga: what is done is undone in reverse if the order cannot be shipped.
//!
//! ```text
//!  reserve ─▶ charge ─▶ print label ┐
//!                  └──▶ send mail   ┴─▶ "packed" or 48 h ─▶ shipped
//!     ▲          ▲                                  │
//!  release ◀── refund ◀────────────────────── never packed, cancelled
//! ```
//!
//! The workflow is in `saga.rs`, the activities in `shop.rs`. This crate must not know which store it runs on: the
//! tests run it in memory, `main.rs` on a folder.

mod saga;
mod shop;

pub use saga::{Order, OrderError, Packed, Shipped, order};
pub use shop::{Declined, Label, OutOfStock, Receipt, Shop, charge, print_label, refund, release, reserve, send_mail};

use antiphon::Builder;

/// Registers the workflow, its activities and the shop that they share.
pub fn register(builder: Builder, shop: Shop) -> Builder {
    builder
        .workflow(order)
        .activity(reserve)
        .activity(release)
        .activity(charge)
        .activity(refund)
        .activity(print_label)
        .activity(send_mail)
        .state(shop)
}
