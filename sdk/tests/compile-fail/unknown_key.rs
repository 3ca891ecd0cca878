//! A misspelt key must not be a silent default.

#[antiphon::activity(nam = "mail.send")]
async fn mail(_act: antiphon::ActivityContext, address: String) -> Result<(), antiphon::Never> {
    println!("{address}");
    Ok(())
}

fn main() {}
