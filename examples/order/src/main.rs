//! The command line of the saga. The engine runs in this process, on the folder `order-data`.

use antiphon::{Antiphon, Filter, RunError, RunStatus};
use clap::{Parser, Subcommand};
use order_saga::{Order, OrderError, Packed, Shop, order, register};
use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Takes orders, and goes on with them after any crash.
///
/// Exit codes: 0 done, 1 not shipped or failed, 2 wrong usage, 130 interrupted (the order goes on at the next start).
#[derive(Parser)]
#[command(name = "order", after_help = EXAMPLES)]
struct Cli {
    /// The folder that remembers.
    #[arg(long, global = true, default_value = "order-data")]
    data: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Places an order and waits for its end. The same order again finds the same run.
    Place {
        /// The order's number.
        id: String,
        /// The price in cents.
        #[arg(long, default_value_t = 1_250)]
        cents: u64,
        /// The card: `declined` never pays, at `flaky` the bank answers the third attempt.
        #[arg(long, default_value = "visa")]
        card: String,
    },
    /// Tells that an order was packed, and waits for its end.
    Packed {
        /// The order's number.
        id: String,
    },
    /// Cancels an order: what was done is undone.
    Cancel {
        /// The order's number.
        id: String,
    },
    /// Lists all orders. Works while another process has the folder.
    Show,
    /// The commands of `antiphon` with this program's code: also `replay` and `check`. See `order record --help`.
    #[command(disable_help_flag = true)]
    Record {
        /// What `antiphon` is told, such as `check order-data`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

const EXAMPLES: &str = "Examples:
  order place 7            reserves, charges, then waits for `packed`; stop it with Ctrl-C
  order packed 7           goes on where it stopped, and ships
  order place 8 --card declined
  order record show order-data order-7
  order record check order-data      would this program's code go on with every open order?";

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match obey(&cli).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("order: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn obey(cli: &Cli) -> Result<ExitCode, Box<dyn Error>> {
    match &cli.verb {
        Verb::Show => return show(&cli.data),
        Verb::Record { args } => {
            let programs = register(Antiphon::open(&cli.data), Shop::that_prints()).programs()?;
            let name = OsString::from("order record");
            return Ok(antiphon_server::cli::run_with(programs, std::iter::once(&name).chain(args)));
        }
        _ => {}
    }
    let app = register(Antiphon::open(&cli.data), Shop::that_prints()).start()?;
    let code = match &cli.verb {
        Verb::Place { id, cents, card } => place(&app, id, *cents, card).await?,
        Verb::Packed { id } => {
            let by = std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned());
            // The request id makes a repeated `packed` count once.
            let run = app.get::<order>(workflow_id(id))?;
            run.signal_once("packed", &Packed { by }, &format!("packed-{id}")).await?;
            wait(&app, id).await?
        }
        Verb::Cancel { id } => {
            app.cancel(&workflow_id(id), "cancelled on the command line").await?;
            wait(&app, id).await?
        }
        Verb::Show | Verb::Record { .. } => ExitCode::SUCCESS,
    };
    app.stop();
    Ok(code)
}

async fn place(app: &Antiphon, id: &str, cents: u64, card: &str) -> Result<ExitCode, Box<dyn Error>> {
    let ordered = Order { id: id.to_owned(), cents, card: card.to_owned() };
    let run = app.start(workflow_id(id), order(ordered)).await?;
    println!("order {id} is {}", if run.existed() { "known" } else { "on record" });
    wait(app, id).await
}

async fn wait(app: &Antiphon, id: &str) -> Result<ExitCode, Box<dyn Error>> {
    let run = app.get::<order>(workflow_id(id))?;
    println!(
        "waiting for its end; without `order packed {id}` it is undone after 48 hours. Ctrl-C leaves it as it is."
    );
    let ended = tokio::select! {
        ended = run.result() => ended,
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            println!("\nleft as it is; go on with: order packed {id}");
            return Ok(ExitCode::from(130));
        }
    };
    match ended {
        Ok(shipped) => {
            println!("shipped: {} (receipt {}, packed by {})", shipped.parcel, shipped.receipt, shipped.packed_by);
            Ok(ExitCode::SUCCESS)
        }
        Err(error @ (RunError::<OrderError>::Failed(_) | RunError::Cancelled { .. } | RunError::Terminated { .. })) => {
            println!("not shipped: {error}");
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}

fn show(data: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let mut reader = antiphon_recorder::sqlite::snapshot(data)?;
    for row in reader.list(&Filter::default())? {
        let note = match row.status {
            RunStatus::Running if row.open_conversations == 0 && !row.timers.is_empty() => "waits to be packed",
            RunStatus::Blocked => row.blocked.as_str(),
            _ => "",
        };
        println!("{:<16} {:<10} {} activities  {note}", row.workflow.to_string(), row.status, row.activities);
    }
    Ok(ExitCode::SUCCESS)
}

fn workflow_id(id: &str) -> String {
    format!("order-{id}")
}
