//! The engine alone, for a tool that counts instructions: what a step costs does not depend then on who else uses the
//! machine. Prints nothing that matters; what `N` and `2 N` rounds differ by is the cost of `N` rounds.
//!
//! ```sh
//! cargo build --release -p antiphon-engine --example steps
//! valgrind --tool=callgrind --callgrind-out-file=/dev/null target/release/examples/steps w1 2
//! ```
//!
//! | shape | one round is |
//! |---|---|
//! | `w1` | 1,000 runs of one activity each, all at once |
//! | `w2` | 100 runs of ten activities in a row, all at once |
//! | `push DEPTH KEYS` | 1,000 answers, each of which frees a place for the next of `DEPTH` calls that wait, over so many fairness keys |
//! | `pull DEPTH KEYS` | the same, where the worker asks for each |
//! | `route POLICY` | 100 choices among 1,000 workers by a route request, the gathering of what is known of them included |

mod driven;
mod line;
mod route;

use driven::Driven;
use std::env::args;

fn main() {
    let words: Vec<String> = args().skip(1).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    match (words.first().map(String::as_str), number(1), number(2), number(3)) {
        (Some("w1"), Some(rounds), ..) => Driven::pool().rounds(rounds, 1_000, 1),
        (Some("w2"), Some(rounds), ..) => Driven::pool().rounds(rounds, 100, 10),
        (Some("push"), Some(depth), Some(keys), Some(rounds)) => line::push(depth, keys, rounds),
        (Some("pull"), Some(depth), Some(keys), Some(rounds)) => line::pull(depth, keys, rounds),
        (Some("route"), None, Some(rounds), _) => route::choose(&words[1], rounds),
        _ => eprintln!("steps w1 N | w2 N | push DEPTH KEYS N | pull DEPTH KEYS N | route POLICY N"),
    }
}
