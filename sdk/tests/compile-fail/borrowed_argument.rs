//! A worker reads the arguments from the record, perhaps in another process: there is nothing to borrow from.

#[antiphon::activity]
async fn mail(_act: antiphon::ActivityContext, address: &str) -> Result<(), antiphon::Never> {
    println!("{address}");
    Ok(())
}

fn main() {}
