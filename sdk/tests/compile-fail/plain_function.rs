//! Only what the attribute has seen has a name and a recorded form.

use antiphon::Antiphon;

async fn mail(address: String) {
    println!("{address}");
}

fn main() {
    let _ = Antiphon::open("data").activity(mail);
}
