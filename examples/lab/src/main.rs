//! A photo lab: a queue that customers share, a call that is held until a person clears it, and a routine.

mod work;

use antiphon::{Antiphon, DeadLetterEntry, Pool, QueueSettings, Routine, RoutineStatus, RunHandle, RunStatus, millis};
use std::process::ExitCode;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use work::{Room, clean, night, order, print};

type Done = Result<(), Box<dyn std::error::Error>>;

/// Who orders, and how many pictures.
const ORDERS: [(&str, u32); 3] = [("ann", 5), ("bob", 2), ("cid", 1)];

async fn run() -> Done {
    let room = Room::default();
    room.jammed.store(true, Ordering::Relaxed);
    let machine = |name: &str| Pool::named(name).queue("lab").capacity(1);
    let app = Antiphon::open("lab-data")
        .state(room.clone())
        .workflow(order)
        .workflow(night)
        .activity(print)
        .activity(clean)
        .pool(machine("machine-1"))
        .pool(machine("machine-2"))
        .run_routines()
        .start()?;
    let orders = take_orders(&app).await?;
    clear_the_jam(&app, &room).await?;
    for (order, (customer, _)) in orders.into_iter().zip(ORDERS) {
        println!("{customer}: {} pictures", order.result().await?);
    }
    println!("printed: {}", room.printed.lock().unwrap_or_else(PoisonError::into_inner).join(", "));
    clean_twice(&app).await?;
    app.stop();
    Ok(())
}

/// Takes the orders before the doors open, so that all of them wait when the first machine starts.
async fn take_orders(app: &Antiphon) -> Result<Vec<RunHandle<order>>, Box<dyn std::error::Error>> {
    let queues = app.queues();
    let one_at_a_time = QueueSettings { in_flight_max: Some(1), ..QueueSettings::default() };
    queues.set("lab", one_at_a_time, "dora", "the other machine is for emergencies").await?;
    queues.pause("lab", "dora", "before the doors open").await?;
    let mut orders = Vec::new();
    for (customer, pictures) in ORDERS {
        orders.push(app.start(customer, order(customer.to_owned(), pictures)).await?);
    }
    let lab = queues.describe("lab").await?;
    for (reason, waiting) in lab.stats.reasons {
        println!("{waiting} wait: {reason}");
    }
    queues.resume("lab", "dora", "good morning").await?;
    Ok(orders)
}

/// Waits until a print is held, clears the machine, and lets that print be tried again.
async fn clear_the_jam(app: &Antiphon, room: &Room) -> Done {
    while app.describe("ann")?.is_none_or(|row| row.status == RunStatus::Running) {
        let held = app.repair().dead_letters(0, 10, false).await?.letters;
        let Some((number, DeadLetterEntry { letter, .. })) = held.into_iter().find(|(_, entry)| entry.letter.held)
        else {
            tokio::time::sleep(millis(10)).await;
            continue;
        };
        println!("held: {} of {}: {}", letter.activity_type, letter.workflow_id, letter.reason);
        room.jammed.store(false, Ordering::Relaxed);
        app.repair().retry(number, "dora", "took the paper out").await?;
        break;
    }
    Ok(())
}

/// A routine whose two slots are a moment apart, as there are days between them in a lab.
async fn clean_twice(app: &Antiphon) -> Done {
    let routines = app.routines().by("dora");
    let twice = Routine::every(millis(200), night()).id("cleaning").idempotency_key("cleaning").max_runs(2);
    routines.create(twice).await?;
    while routines.get("cleaning").await?.status != RoutineStatus::Completed {
        tokio::time::sleep(millis(10)).await;
    }
    println!("cleaned {} times", routines.get("cleaning").await?.state.runs);
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lab: {error}");
            ExitCode::FAILURE
        }
    }
}
