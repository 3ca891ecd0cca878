//! What serde cannot write cannot be recorded.

use antiphon::{ActivityContext, Never};

struct Address(String);

#[antiphon::activity]
async fn mail(_act: ActivityContext, order: u64, address: Address) -> Result<(), Never> {
    println!("{order} {}", address.0);
    Ok(())
}

fn main() {}
