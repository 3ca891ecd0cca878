//! The workloads W1 to W6 against a small [`Engine`] trait, and what they cost.
//!
//! A driver implements [`Engine`] for one peer and hands it to [`run`]. One process runs one workload and prints one
//! JSON line: first what it is ([`about`]), then one per figure ([`Figure`]).

mod engine;
mod loops;
mod measure;
mod options;
mod workloads;

pub use engine::{Engine, Failure, Work};
pub use measure::{Figure, Watch};
pub use options::{Options, Sizes, Workload};
pub use workloads::run;

use serde_json::json;

/// Prints what is measured: the version of `package` in the driver's lock file `lock`, and the settings in words.
pub fn about(lock: &str, package: &str, settings: &str) {
    println!("{}", json!({ "version": format!("{package} {}", locked_version(lock, package)), "settings": settings }));
}

fn locked_version<'a>(lock: &'a str, package: &str) -> &'a str {
    let head = format!("name = \"{package}\"\nversion = \"");
    lock.split(&head).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("of unknown version")
}

#[cfg(test)]
mod tests {
    use super::locked_version;

    #[test]
    fn the_version_is_that_of_the_lock_file() {
        let lock = "[[package]]\nname = \"dbos-macros\"\nversion = \"1.0.0\"\n\n[[package]]\nname = \"dbos\"\nversion = \"0.5.0\"\n";
        assert_eq!(locked_version(lock, "dbos"), "0.5.0");
        assert_eq!(locked_version(lock, "restate-sdk"), "of unknown version");
    }
}
