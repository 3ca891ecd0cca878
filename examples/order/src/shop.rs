//! The outside world of the saga. A real shop would talk to a warehouse and a bank; this one keeps a journal.

use antiphon::{ActivityContext, Never};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};

/// The shop: what its activities did, in order. Clones share one journal.
#[derive(Clone, Debug, Default)]
pub struct Shop {
    journal: Arc<Mutex<Vec<String>>>,
    prints: bool,
}

impl Shop {
    /// A shop that also prints each line of its journal.
    pub fn that_prints() -> Shop {
        Shop { prints: true, ..Shop::default() }
    }

    /// What was done so far.
    pub fn journal(&self) -> Vec<String> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, line: String) {
        if self.prints {
            println!("  {line}");
        }
        self.journal.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// There is not enough of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("out of stock")]
pub struct OutOfStock;

/// The bank did not pay.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Declined {
    /// It will not pay for this card, today or tomorrow.
    #[error("the bank declined the card {card:?}")]
    Card {
        /// The card.
        card: String,
    },
    /// It did not answer.
    #[error("the bank is not reachable")]
    Unreachable,
}

impl Declined {
    /// Whether asking again is of no use.
    pub fn is_final(&self) -> bool {
        matches!(self, Declined::Card { .. })
    }
}

/// Proof of a payment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// The bank's number for it.
    pub number: String,
}

/// A parcel's label.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Label {
    /// The carrier's number of the parcel.
    pub parcel: String,
}

/// Sets the goods aside.
#[antiphon::activity(name = "stock.reserve")]
pub async fn reserve(act: ActivityContext, order: String) -> Result<(), OutOfStock> {
    act.state::<Shop>().note(format!("reserve {order}"));
    Ok(())
}

/// Puts the goods back. Does nothing where none were set aside.
#[antiphon::activity(name = "stock.release")]
pub async fn release(act: ActivityContext, order: String) -> Result<(), Never> {
    act.state::<Shop>().note(format!("release {order}"));
    Ok(())
}

/// Charges a card. The card `declined` never pays; at the card `flaky` the bank answers the third attempt.
#[antiphon::activity(name = "pay.charge", fatal = Declined::is_final)]
pub async fn charge(act: ActivityContext, order: String, cents: u64, card: String) -> Result<Receipt, Declined> {
    let shop = act.state::<Shop>();
    shop.note(format!("charge {order} {cents} cents, attempt {}", act.attempt()));
    match card.as_str() {
        "declined" => Err(Declined::Card { card }),
        "flaky" if act.attempt() < 3 => Err(Declined::Unreachable),
        // The same for every attempt and leg of this call: a bank that knows the key does not charge twice.
        _ => Ok(Receipt { number: act.idempotency_key().chars().take(8).collect() }),
    }
}

/// Gives the money back. Does nothing where none was taken.
#[antiphon::activity(name = "pay.refund")]
pub async fn refund(act: ActivityContext, order: String) -> Result<(), Never> {
    act.state::<Shop>().note(format!("refund {order}"));
    Ok(())
}

/// Prints the label of the parcel.
#[antiphon::activity(name = "ship.label")]
pub async fn print_label(act: ActivityContext, order: String) -> Result<Label, Never> {
    act.state::<Shop>().note(format!("label {order}"));
    Ok(Label { parcel: format!("parcel-{order}") })
}

/// Writes to the customer.
#[antiphon::activity(name = "mail.send")]
pub async fn send_mail(act: ActivityContext, order: String, text: String) -> Result<(), Never> {
    let _ = text;
    act.state::<Shop>().note(format!("mail {order}"));
    Ok(())
}
