//! Curves: what a cost does when something grows. A line that stays level is what is wanted.

use crate::alone::Place;
use crate::results::Setting;
use crate::{Failure, child, table};
use clap::Args;

/// A curve: its name, what it is over, its points, and as many of them for `--quick`.
struct Curve {
    name: &'static str,
    over: &'static str,
    points: &'static [u64],
    quick: usize,
}

const CURVES: [Curve; 5] = [
    Curve { name: "history", over: "activities in a row", points: &[10, 100, 1_000, 10_000, 50_000], quick: 3 },
    Curve { name: "live", over: "live runs", points: &[100, 1_000, 10_000, 100_000], quick: 3 },
    Curve { name: "store", over: "finished runs", points: &[0, 10_000, 100_000, 1_000_000], quick: 2 },
    Curve { name: "payload", over: "payload bytes", points: &[16, 256, 4_096, 65_536, 1_048_576], quick: 4 },
    Curve { name: "fan", over: "activities at once", points: &[1, 10, 100, 1_000, 10_000, 20_000], quick: 4 },
];

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The curves: history, live, store, payload, fan. Default: all.
    curves: Vec<String>,
    /// Leave out the largest points.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    place: Place,
    /// Print one JSON line per point instead of tables.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let known = CURVES.map(|curve| curve.name);
    if let Some(unknown) = options.curves.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("there is no curve {unknown:?}; there are {}", known.join(", ")).into());
    }
    let scratch = options.place.scratch()?;
    let settings = serde_json::json!({"curves": options.curves, "quick": options.quick, "durability": "full"});
    let setting = Setting::here(scratch.path(), settings);
    if !options.json {
        println!("{}", setting.headline());
    }
    let wanted = |curve: &&Curve| options.curves.is_empty() || options.curves.iter().any(|name| name == curve.name);
    for curve in CURVES.iter().filter(wanted) {
        let points = if options.quick { &curve.points[..curve.quick] } else { curve.points };
        let mut rows = Vec::new();
        for x in points {
            let folder = scratch.path().join(format!("{}-{x}", curve.name));
            rows.extend(child::rows(&["point", curve.name, "--x", &x.to_string()], &folder)?);
            std::fs::remove_dir_all(&folder)?;
        }
        options.place.keep(&setting, &rows)?;
        if options.json {
            rows.iter().try_for_each(child::say)?;
        } else {
            println!();
            table::print_curve(curve.over, &rows);
        }
    }
    Ok(())
}
