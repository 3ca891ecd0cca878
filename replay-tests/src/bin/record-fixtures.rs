//! Records the histories of `fixtures/histories/v1` that are not there yet. Existing files are never touched.
//!
//! Run from the root of the repository: `cargo run -p antiphon-replay-tests --bin record-fixtures`.

use antiphon_replay_tests::{scenarios, world};
use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/histories/v1");
    std::fs::create_dir_all(&folder)?;
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
