//! A body is a future, so that it can be cancelled and wait without a thread.

#[antiphon::activity]
fn mail(_act: antiphon::ActivityContext, address: String) -> Result<(), antiphon::Never> {
    println!("{address}");
    Ok(())
}

fn main() {}
