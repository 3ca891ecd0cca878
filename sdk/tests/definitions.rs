//! What the two attributes make of a function, seen from an author's crate.

// An author's crate may be stricter than ours: nothing that the macros write may offend these.
#![deny(missing_docs, unreachable_pub, unused_qualifications, clippy::pedantic)]

use antiphon::{
    ActivityContext, ActivityDefinition, ActivityHandle, Call, Never, WorkflowContext, WorkflowDefinition,
    WorkflowHandle, secs,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize, thiserror::Error)]
#[error("declined")]
struct Declined {
    last: bool,
}

impl Declined {
    fn is_final(&self) -> bool {
        self.last
    }
}

/// Charges the card.
#[antiphon::activity(name = "pay.charge", fatal = Declined::is_final)]
async fn charge(_act: ActivityContext, order: u64, cents: u64) -> Result<u64, Declined> {
    if cents == 0 { Err(Declined { last: true }) } else { Ok(order) }
}

#[antiphon::workflow(name = "order", version = 3)]
async fn order(_ctx: WorkflowContext<'_>, id: u64, lines: Vec<String>) -> antiphon::Result<u64, Declined> {
    match lines.len() {
        0 => Err(Declined { last: false })?,
        _ => Ok(id),
    }
}

fn activity_of<A, H: ActivityHandle<A>>(_: H) -> (&'static str, &'static str) {
    (H::Definition::NAME, H::Definition::SITE)
}

fn workflow_of<A, H: WorkflowHandle<A>>(_: H) -> (&'static str, u32) {
    (H::Definition::NAME, H::Definition::VERSION)
}

#[test]
fn a_function_item_leads_to_its_definition() {
    let (name, site) = activity_of(charge);
    assert_eq!(name, "pay.charge");
    let (file, line) = site.rsplit_once(':').unwrap();
    assert!(file.ends_with("tests/definitions.rs") && line.parse::<u32>().unwrap() > 1, "{site}");
    assert_eq!(workflow_of(order), ("order", 3));
}

#[test]
fn the_function_makes_a_typed_call_with_one_payload_per_argument() {
    let call: Call<charge> = charge(7, 1250);
    let parts = call.attempts(3).start_to_close(secs(30)).into_parts().unwrap();
    assert_eq!(parts.to_string(), "pay.charge(7, 1250) start_to_close_ms=30000 attempts=3");
    let start = order(7, vec!["tea".to_owned()]).into_parts().unwrap();
    assert_eq!((start.workflow_type, start.version), ("order", 3));
    assert_eq!(start.input.iter().map(ToString::to_string).collect::<Vec<_>>(), ["7", "[\"tea\"]"]);
}

#[test]
fn the_named_function_says_which_errors_are_fatal() {
    assert!(<charge as ActivityDefinition>::is_fatal(&Declined { last: true }));
    assert!(!<charge as ActivityDefinition>::is_fatal(&Declined { last: false }));
}

#[test]
fn a_variable_may_have_the_name_of_a_definition() {
    let charge = charge(1, 2);
    let order = order(1, vec![]);
    assert!(charge.into_parts().is_ok() && order.into_parts().is_ok());
}

#[test]
fn definitions_stand_inside_functions_and_take_their_name_from_the_function() {
    #[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
    struct Pair(u8, u8);

    #[antiphon::activity]
    async fn r#match(_: ActivityContext, mut left: Vec<u8>, Pair(a, b): Pair, _: u8) -> Result<Vec<u8>, Never> {
        left.extend([a, b]);
        Ok(left)
    }

    #[antiphon::workflow()]
    async fn nothing(_: WorkflowContext<'_>) -> antiphon::Result<(), Never> {
        Ok(())
    }

    assert_eq!(activity_of(r#match).0, "match");
    assert_eq!(workflow_of(nothing), ("nothing", 1));
    assert_eq!(r#match(vec![1], Pair(2, 3), 4).into_parts().unwrap().to_string(), "match([1], [2,3], 4)");
    assert_eq!(nothing().into_parts().unwrap().input, []);
}

#[test]
fn twelve_arguments_are_taken() {
    #[antiphon::activity]
    async fn twelve(
        _: ActivityContext,
        x1: u8,
        x2: u8,
        x3: u8,
        x4: u8,
        x5: u8,
        x6: u8,
        x7: u8,
        x8: u8,
        x9: u8,
        x10: u8,
        x11: u8,
        x12: u8,
    ) -> Result<[u8; 12], Never> {
        Ok([x1, x2, x3, x4, x5, x6, x7, x8, x9, x10, x11, x12])
    }
    assert_eq!(activity_of(twelve).0, "twelve");
    let call = twelve(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12).into_parts().unwrap();
    assert_eq!(call.to_string(), "twelve(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)");
}

#[test]
fn names_of_the_authors_and_of_the_macros_do_not_meet() {
    // Every word below is one that the expansion also uses, or might.
    #[antiphon::activity]
    async fn run(
        context: ActivityContext,
        values: u8,
        value_0: u8,
        error: String,
        args: Option<u8>,
    ) -> Result<(u8, String), Never> {
        _ = &context;
        Ok((values + value_0 + args.unwrap_or(0), error))
    }
    assert_eq!(run(1, 2, "e".to_owned(), None).into_parts().unwrap().to_string(), "run(1, 2, \"e\", null)");
}

/// A module of its own, to look in from outside.
pub mod shop {
    use antiphon::{ActivityContext, Never};

    /// Ships.
    #[antiphon::activity(name = "ship")]
    pub async fn ship(_act: ActivityContext, id: u64) -> Result<u64, Never> {
        Ok(id)
    }

    #[cfg(any())]
    #[antiphon::activity]
    async fn absent(_act: ActivityContext, id: Missing) -> Result<u64, Never> {
        Ok(id)
    }

    #[antiphon::activity]
    #[cfg(any())]
    async fn absent_too(_act: ActivityContext, id: Missing) -> Result<u64, Never> {
        Ok(id)
    }

    /// Rings the bell.
    #[antiphon::activity]
    pub(super) async fn ring(_act: ActivityContext) -> Result<(), Never> {
        Ok(())
    }
}

#[test]
fn a_definition_is_as_visible_as_its_function() {
    assert_eq!(activity_of(shop::ship).0, "ship");
    assert_eq!(activity_of(shop::ring).0, "ring");
    // Building the body's future needs a context; naming it needs only that it can be seen.
    let seen = [std::any::type_name_of_val(&shop::ship::run), std::any::type_name_of_val(&shop::ring::run)];
    assert!(seen.iter().all(|body| body.ends_with("::run")), "{seen:?}");
}

#[test]
fn a_definition_that_is_only_registered_is_not_reported_as_unused() {
    #[antiphon::activity]
    async fn beep(_act: ActivityContext) -> Result<(), Never> {
        Ok(())
    }
    assert_eq!(activity_of(beep).0, "beep");
}
