//! The rules of the house, kept by a test: who may know whom, which words do not appear, which pages must exist.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Whom each package may name among its normal dependencies. A new arrow is a decision note, not a line here alone.
const ARROWS: &[(&str, &[&str])] = &[
    ("antiphon-history", &[]),
    ("antiphon-conversation", &["antiphon-history"]),
    ("antiphon-engine", &["antiphon-conversation", "antiphon-history"]),
    ("antiphon-recorder", &["antiphon-history"]),
    ("antiphon-runtime", &["antiphon-engine", "antiphon-conversation", "antiphon-recorder", "antiphon-history"]),
    ("antiphon-macros", &[]),
    (
        "antiphon",
        &[
            "antiphon-runtime",
            "antiphon-engine",
            "antiphon-conversation",
            "antiphon-recorder",
            "antiphon-history",
            "antiphon-macros",
        ],
    ),
    (
        "antiphon-server",
        &[
            "antiphon",
            "antiphon-runtime",
            "antiphon-engine",
            "antiphon-conversation",
            "antiphon-recorder",
            "antiphon-history",
        ],
    ),
];

/// What the trees of the pure crates must not contain.
const IMPURE: [&str; 4] = ["tokio", "rusqlite", "libsqlite3-sys", "rand"];

#[derive(serde::Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(serde::Deserialize)]
struct Package {
    id: String,
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(serde::Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

#[derive(serde::Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(serde::Deserialize)]
struct Node {
    id: String,
    deps: Vec<Edge>,
}

#[derive(serde::Deserialize)]
struct Edge {
    pkg: String,
    dep_kinds: Vec<EdgeKind>,
}

#[derive(serde::Deserialize)]
struct EdgeKind {
    kind: Option<String>,
}

/// The platform of this machine: packages for others need not be here.
fn host() -> String {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into())).arg("-vV").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

fn metadata() -> Metadata {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", &host(), "--manifest-path"])
        .arg(root().join("Cargo.toml"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Everything in the tree of `package`, itself included, by normal dependencies alone.
fn tree(metadata: &Metadata, package: &str) -> BTreeSet<String> {
    let names: BTreeMap<&str, &str> =
        metadata.packages.iter().map(|package| (package.id.as_str(), package.name.as_str())).collect();
    let edges: BTreeMap<&str, &Vec<Edge>> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), &node.deps)).collect();
    let start = metadata.packages.iter().find(|candidate| candidate.name == package).unwrap();
    let (mut seen, mut left) = (BTreeSet::new(), vec![start.id.as_str()]);
    while let Some(id) = left.pop() {
        if seen.insert(id) {
            let normal = |edge: &&Edge| edge.dep_kinds.iter().any(|kind| kind.kind.is_none());
            left.extend(edges[id].iter().filter(normal).map(|edge| edge.pkg.as_str()));
        }
    }
    seen.into_iter().map(|id| names[id].to_owned()).collect()
}

#[test]
fn arrows_point_downwards_only() {
    let metadata = metadata();
    for (package, allowed) in ARROWS {
        let found = metadata.packages.iter().find(|candidate| candidate.name == *package).unwrap();
        for dependency in &found.dependencies {
            let ours = dependency.name.starts_with("antiphon");
            if ours && dependency.kind.is_none() {
                assert!(allowed.contains(&dependency.name.as_str()), "{package} must not know {}", dependency.name);
            }
        }
    }
}

#[test]
fn the_pure_crates_reach_no_runtime_store_or_randomness() {
    let metadata = metadata();
    for package in ["antiphon-history", "antiphon-conversation", "antiphon-engine"] {
        let tree = tree(&metadata, package);
        for impure in IMPURE {
            assert!(!tree.contains(impure), "{package} reaches {impure}");
        }
    }
    assert!(tree(&metadata, "antiphon").contains("rusqlite"), "the check sees what is there");
}

#[test]
fn the_embedded_build_stays_small() {
    let tree = tree(&metadata(), "antiphon");
    assert!(tree.len() <= 120, "{} packages: {tree:?}", tree.len());
}

fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = [
        "history",
        "conversation",
        "engine",
        "recorder",
        "runtime",
        "sdk",
        "server",
        "bench",
        "replay-tests",
        "examples",
    ]
    .iter()
    .map(|name| root().join(name))
    .collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 50, "the check sees the sources");
    found
}

/// Error codes in a text: `A` and four digits that stand alone.
fn codes(text: &str) -> BTreeSet<String> {
    let bytes = text.as_bytes();
    let is_word = |at: usize| bytes.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    (0..bytes.len().saturating_sub(4))
        .filter(|&at| bytes[at] == b'A' && bytes[at + 1..at + 5].iter().all(u8::is_ascii_digit))
        .filter(|&at| !is_word(at + 5) && (at == 0 || !is_word(at - 1)))
        .map(|at| text[at..at + 5].to_owned())
        .collect()
}

#[test]
fn every_error_code_has_its_page_and_every_page_its_code() {
    let mut used = BTreeSet::new();
    for (path, text) in sources() {
        if !path.ends_with("tests/tidy.rs") {
            used.extend(codes(&text));
        }
    }
    let pages: BTreeSet<String> = std::fs::read_dir(root().join("docs/errors"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_stem().is_some_and(|stem| stem != "README"))
        .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(used, pages, "codes in the sources (left) and pages in docs/errors (right)");
    for page in pages {
        let text = std::fs::read_to_string(root().join(format!("docs/errors/{page}.md"))).unwrap();
        for part in ["## What happened", "## How to check", "## What to do"] {
            assert!(text.contains(part), "{page} lacks {part:?}");
        }
    }
}

#[test]
fn unfinished_work_and_stray_output_do_not_appear_in_sources() {
    // Spelt in halves, so that this file does not find itself.
    let banned =
        [("to", "do!("), ("unimple", "mented!("), ("db", "g!("), ("FIX", "ME"), ("TO", "DO"), ("thread::", "sleep(")];
    for (path, text) in sources() {
        for (head, tail) in banned {
            let word = format!("{head}{tail}");
            assert!(!text.contains(&word), "{} contains {word:?}", path.display());
        }
    }
}

#[test]
fn no_page_or_source_names_a_machine_or_a_registry_host() {
    let mut texts = sources();
    for folder in ["docs", "docs/errors", "docs/decisions", "fixtures", "."] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "md") {
                texts.push((path.clone(), std::fs::read_to_string(path).unwrap()));
            }
        }
    }
    let hosts = [("crates", ".io"), ("pypi", ".org"), ("npmjs", ".com")];
    for (path, text) in texts {
        for (head, tail) in hosts {
            assert!(!text.contains(&format!("{head}{tail}")), "{} names a registry host", path.display());
        }
    }
}

#[test]
fn every_stored_name_is_in_the_page_of_the_format() {
    let page = std::fs::read_to_string(root().join("docs/history-format.md")).unwrap();
    let files = [
        "activity.rs",
        "blocked.rs",
        "conversation_event.rs",
        "ids.rs",
        "payload.rs",
        "routing.rs",
        "routing/words.rs",
        "run_event.rs",
        "routine/event.rs",
        "routine/patch.rs",
        "routine/slot.rs",
        "routine/spec.rs",
        "routine/state.rs",
    ];
    let mut files: Vec<_> = files.into_iter().map(str::to_owned).collect();
    for entry in std::fs::read_dir(root().join("history/src/entity")).unwrap() {
        files.push(format!("entity/{}", entry.unwrap().file_name().to_str().unwrap()));
    }
    for file in files {
        let text = std::fs::read_to_string(root().join("history/src").join(&file)).unwrap();
        for (_, rest) in text.match_indices("rename = \"").map(|(at, found)| text.split_at(at + found.len())) {
            let name = rest.split('"').next().unwrap();
            assert!(
                page.contains(&format!("`{name}`")),
                "{file}: the stored name `{name}` is not in docs/history-format.md"
            );
        }
    }
}

#[test]
fn every_row_of_dispatch_names_tests_that_exist_or_says_why_it_has_none() {
    let page = std::fs::read_to_string(root().join("docs/dispatch.md")).unwrap();
    let sources: String = sources().into_iter().map(|(_, text)| text).collect();
    for (letter, count) in [("A", 12), ("B", 12), ("C", 13), ("D", 13), ("E", 13)] {
        for number in 1..=count {
            let row = format!("| {letter}-T{number} |");
            let line = page.lines().find(|line| line.starts_with(&row));
            let line = line.unwrap_or_else(|| panic!("docs/dispatch.md has no row {letter}-T{number}"));
            let tests: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
            assert!(!tests.is_empty() || line.contains("left out:"), "{letter}-T{number} names no test and no reason");
            for test in tests {
                assert!(sources.contains(&format!("fn {test}(")), "{letter}-T{number}: there is no test {test}");
            }
        }
    }
}
