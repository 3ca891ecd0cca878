//! Records what `fixtures/` lacks: the histories of `histories/v1`, the store of `stores/v2`, and the bytes of `corpus` that
//! hostile ones are made of. Existing files are never touched.
//!
//! Run from the root of the repository: `cargo run -p antiphon-replay-tests --bin record-fixtures`.

use antiphon::Antiphon;
use antiphon_replay_tests::{programs, scenarios, strangers, world};
use std::error::Error;
use std::path::Path;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures");
    histories(&fixtures.join("histories/v1"))?;
    store(&fixtures.join("stores/v2")).await?;
    Ok(corpus(&fixtures.join("corpus"))?)
}

fn corpus(folder: &Path) -> std::io::Result<()> {
    for (target, name, bytes) in strangers::made() {
        let file = folder.join(target).join(name);
        if !file.exists() {
            std::fs::create_dir_all(folder.join(target))?;
            std::fs::write(&file, bytes)?;
            println!("recorded  {}", file.display());
        }
    }
    Ok(())
}

fn histories(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for scenario in scenarios::ALL {
        let file = folder.join(format!("{}.history", scenario.name));
        if file.exists() {
            println!("kept      {}", scenario.name);
            continue;
        }
        let history = (scenario.play)();
        std::fs::write(file, history.to_bytes())?;
        std::fs::write(folder.join(format!("{}.txt", scenario.name)), world::text(&history) + "\n")?;
        println!("recorded  {}", scenario.name);
    }
    Ok(())
}

/// A store with a run of each fate, as this version leaves it behind.
async fn store(folder: &Path) -> Result<(), Box<dyn Error>> {
    if folder.exists() {
        println!("kept      the store");
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    let app = programs::register(Antiphon::open(folder)).start()?;
    app.run("completed", programs::fan(4)).await?;
    app.run("large", programs::one("x".repeat(20_000))).await?;
    let failed = app.run("failed", programs::order(7, 0)).await;
    assert!(failed.is_err(), "an order over nothing is declined");
    app.start("cancelled", programs::told()).await?.cancel("for the fixture").await?;
    app.start("waiting", programs::told()).await?;
    app.stop();
    // Made again when the store is opened: a megabyte of nothing, a lock that nobody holds, an index of the log.
    for made_again in ["ballast", "lock", "archive.db-shm", "log.db-shm"] {
        match std::fs::remove_file(folder.join(made_again)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    println!("recorded  the store");
    Ok(())
}
