//! What stands in the brackets: `#[activity(name = "pay.charge", fatal = Declined::is_final)]`.

use proc_macro2::TokenStream;
use std::collections::BTreeSet;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Error, ExprPath, Ident, Lit, LitInt, LitStr, Result, Token};

/// Longest name in bytes. The same number as `antiphon_history::limits::NAME_MAX_BYTES`, by a test below: depending on
/// that crate would build its hash functions for the compiler's host as well.
const NAME_MAX_BYTES: usize = 255;

/// Which of the two attributes is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Activity,
    Workflow,
}

impl Kind {
    /// The thing with its article, as messages name it.
    pub(crate) fn thing(self) -> &'static str {
        match self {
            Kind::Activity => "an activity",
            Kind::Workflow => "a workflow",
        }
    }

    /// The attribute, as messages name it.
    pub(crate) fn attribute(self) -> &'static str {
        match self {
            Kind::Activity => "#[activity]",
            Kind::Workflow => "#[workflow]",
        }
    }

    fn keys(self) -> &'static str {
        match self {
            Kind::Activity => "`name` and `fatal`",
            Kind::Workflow => "`name` and `version`",
        }
    }
}

/// The keys that were given, checked.
#[derive(Default)]
pub(crate) struct Attribute {
    pub(crate) name: Option<String>,
    pub(crate) version: Option<u32>,
    pub(crate) fatal: Option<ExprPath>,
}

impl Attribute {
    /// Reads what stands in the brackets; the error stands at the first key or value that is wrong.
    pub(crate) fn parse(kind: Kind, tokens: TokenStream) -> Result<Attribute> {
        (|input: ParseStream<'_>| read(kind, input)).parse2(tokens)
    }

    /// The recorded name: the one that was given, else the function's.
    ///
    /// Errors: the function's name cannot be recorded.
    pub(crate) fn name_or(&self, function: &Ident) -> Result<String> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => {
                let name = function.unraw().to_string();
                match name_problem(&name) {
                    None => Ok(name),
                    Some(problem) => {
                        Err(Error::new(function.span(), format!("this {problem}; give a `name = \"..\"`")))
                    }
                }
            }
        }
    }
}

fn read(kind: Kind, input: ParseStream<'_>) -> Result<Attribute> {
    let mut attribute = Attribute::default();
    let mut seen = BTreeSet::new();
    while !input.is_empty() {
        if input.peek(Lit) {
            return Err(input.error("a value needs its key: write `name = \"..\"`"));
        }
        let key = input.call(Ident::parse_any)?;
        let text = key.unraw().to_string();
        match (kind, text.as_str()) {
            (_, "name") | (Kind::Activity, "fatal") | (Kind::Workflow, "version") => {}
            _ => return Err(unknown(kind, &key, &text)),
        }
        if !seen.insert(text.clone()) {
            return Err(Error::new(key.span(), format!("`{text}` is given twice; keep one")));
        }
        if !input.peek(Token![=]) {
            return Err(Error::new(key.span(), format!("`{text}` needs a value: write `{}`", example(&text))));
        }
        input.parse::<Token![=]>()?;
        match text.as_str() {
            "name" => attribute.name = Some(name(input)?),
            "version" => attribute.version = Some(version(input)?),
            _ => attribute.fatal = Some(fatal(input)?),
        }
        if !input.is_empty() {
            input.parse::<Token![,]>()?;
        }
    }
    Ok(attribute)
}

fn unknown(kind: Kind, key: &Ident, text: &str) -> Error {
    let hint = match (kind, text) {
        (Kind::Activity, "version") => ". An activity has no version: what it returned is recorded, not its code",
        (Kind::Workflow, "fatal") => ". A workflow is not retried, so none of its errors is fatal",
        _ => "",
    };
    let (attribute, keys) = (kind.attribute(), kind.keys());
    Error::new(key.span(), format!("unknown key `{text}`: the keys of {attribute} are {keys}{hint}"))
}

fn example(key: &str) -> &'static str {
    match key {
        "name" => "name = \"..\"",
        "version" => "version = 2",
        _ => "fatal = MyError::is_final",
    }
}

fn name(input: ParseStream<'_>) -> Result<String> {
    let literal: LitStr =
        input.parse().map_err(|wrong| Error::new(wrong.span(), "a name is a string literal: write `name = \"..\"`"))?;
    match name_problem(&literal.value()) {
        None => Ok(literal.value()),
        Some(problem) => Err(Error::new(literal.span(), format!("this {problem}"))),
    }
}

fn name_problem(name: &str) -> Option<String> {
    if name.is_empty() {
        Some(format!("name is empty; use 1 to {NAME_MAX_BYTES} bytes"))
    } else if name.len() > NAME_MAX_BYTES {
        Some(format!("name has {} bytes; use at most {NAME_MAX_BYTES}", name.len()))
    } else {
        let control = name.chars().find(|character| character.is_control())?;
        Some(format!("name holds the control character {control:?}; names are printed in lists and logs"))
    }
}

fn version(input: ParseStream<'_>) -> Result<u32> {
    let whole = "a version is a whole number from 1 to 4294967295";
    let literal: LitInt = input.parse().map_err(|wrong| Error::new(wrong.span(), whole))?;
    match literal.base10_parse::<u32>() {
        Ok(0) | Err(_) => Err(Error::new(literal.span(), whole)),
        Ok(version) => Ok(version),
    }
}

fn fatal(input: ParseStream<'_>) -> Result<ExprPath> {
    input.parse().map_err(|wrong| {
        Error::new(wrong.span(), "`fatal` is the path of a `fn(&E) -> bool`: write `fatal = MyError::is_final`")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn refusal(kind: Kind, tokens: TokenStream) -> String {
        Attribute::parse(kind, tokens).err().unwrap().to_string()
    }

    #[test]
    fn all_keys_are_read_in_any_order_with_or_without_a_last_comma() {
        let activity = Attribute::parse(Kind::Activity, quote!(fatal = a::B::c, name = "pay.charge",)).unwrap();
        assert_eq!(activity.name.as_deref(), Some("pay.charge"));
        assert_eq!(activity.fatal.unwrap().path.segments.len(), 3);
        let workflow = Attribute::parse(Kind::Workflow, quote!(version = 3, name = "order")).unwrap();
        assert_eq!((workflow.name.as_deref(), workflow.version), (Some("order"), Some(3)));
        assert!(Attribute::parse(Kind::Activity, quote!()).unwrap().name.is_none());
    }

    #[test]
    fn the_function_names_the_activity_where_no_name_is_given() {
        let raw = Attribute::default().name_or(&quote::format_ident!("r#match")).unwrap();
        assert_eq!(raw, "match");
        let long = Ident::new(&"x".repeat(256), proc_macro2::Span::call_site());
        assert!(Attribute::default().name_or(&long).unwrap_err().to_string().contains("has 256 bytes"));
    }

    #[test]
    fn unknown_keys_are_named_with_the_known_ones() {
        let text = refusal(Kind::Activity, quote!(nam = "x"));
        assert_eq!(text, "unknown key `nam`: the keys of #[activity] are `name` and `fatal`");
        assert!(refusal(Kind::Activity, quote!(version = 2)).contains("An activity has no version"));
        assert!(refusal(Kind::Workflow, quote!(fatal = f)).contains("A workflow is not retried"));
    }

    #[test]
    fn a_key_given_twice_or_without_a_value_is_refused() {
        assert_eq!(refusal(Kind::Workflow, quote!(name = "a", name = "b")), "`name` is given twice; keep one");
        assert!(refusal(Kind::Workflow, quote!(version)).contains("write `version = 2`"));
        assert!(refusal(Kind::Activity, quote!("pay.charge")).contains("a value needs its key"));
    }

    #[test]
    fn names_with_nothing_or_too_much_or_controls_are_refused() {
        assert!(refusal(Kind::Activity, quote!(name = "")).contains("this name is empty"));
        assert!(refusal(Kind::Activity, quote!(name = "a\nb")).contains("control character '\\n'"));
        assert!(refusal(Kind::Activity, quote!(name = charge)).contains("string literal"));
        let longest = "x".repeat(255);
        assert!(Attribute::parse(Kind::Activity, quote!(name = #longest)).is_ok());
        let longer = "x".repeat(256);
        assert!(refusal(Kind::Activity, quote!(name = #longer)).contains("this name has 256 bytes"));
    }

    #[test]
    fn names_have_the_same_bound_as_in_records() {
        assert_eq!(NAME_MAX_BYTES, antiphon_history::limits::NAME_MAX_BYTES);
    }

    #[test]
    fn versions_count_from_one() {
        for wrong in [quote!(version = 0), quote!(version = 4294967296), quote!(version = "1"), quote!(version = -1)] {
            assert!(refusal(Kind::Workflow, wrong).contains("a whole number from 1"));
        }
    }

    #[test]
    fn fatal_is_a_path() {
        assert!(refusal(Kind::Activity, quote!(fatal = 3)).contains("`fatal = MyError::is_final`"));
    }
}
