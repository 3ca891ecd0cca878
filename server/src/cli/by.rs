//! Who acts, and what they are told when it is done.

use super::json::Json;
use super::output::{Out, Paint, clean};
use super::{Error, Exit};

/// Who acts, and why: kept on record.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct By {
    /// Who does it. Default: the user's login name
    #[arg(long, value_name = "NAME")]
    who: Option<String>,
    /// Why, for whoever asks later
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub(super) why: String,
}

impl By {
    /// Who does it: as given, or whom this process belongs to as far as the environment says.
    pub(super) fn who(&self) -> String {
        let named = |variable| std::env::var(variable).ok().filter(|name| !name.is_empty());
        self.who.clone().or_else(|| named("LOGNAME")).or_else(|| named("USER")).unwrap_or_else(|| "unknown".to_owned())
    }

    pub(super) fn given(&self) -> antiphon_engine::By {
        antiphon_engine::By { who: self.who(), why: self.why.clone() }
    }
}

/// Says that something was done, or that it was so before.
pub(super) fn done(verb: &'static str, on: &str, changed: bool, out: &mut Out<'_>) -> Result<Exit, Error> {
    if out.json {
        out.json(&Json::Object(vec![("verb", verb.into()), ("on", on.into()), ("changed", changed.into())]))?;
        return Ok(Exit::Done);
    }
    let verb = out.style.paint(Paint::Good, verb);
    let rest = if changed { "" } else { ": it was so before, and nothing was written" };
    out.line(format!("{verb} {}{rest}", clean(on)))?;
    Ok(Exit::Done)
}
