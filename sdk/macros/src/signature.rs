//! The function under the attribute: what it must look like, and what to say where it does not.

use crate::attribute::Kind;
use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident};
use syn::spanned::Spanned;
use syn::{Error, FnArg, Ident, ItemFn, Pat, PatType, Result, ReturnType, Signature, Type};

/// Most arguments of a definition: the engine writes each one as its own payload, by an implementation per count.
const ARGUMENTS_MAX: usize = 12;

/// A function that can be an activity or a workflow.
pub(crate) struct Checked {
    /// The function as it was written.
    pub(crate) function: ItemFn,
    /// The type of its context.
    pub(crate) context: Type,
    /// Where its parameters stand.
    pub(crate) parameters: Span,
    /// Its arguments, without the context.
    pub(crate) arguments: Vec<Argument>,
    /// The whole type that it returns.
    pub(crate) output: Type,
}

/// One argument: what the constructor calls it, and its type.
pub(crate) struct Argument {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
}

/// Checks a function; the error holds every fault, each at its place.
pub(crate) fn check(kind: Kind, function: ItemFn) -> Result<Checked> {
    let mut faults = Faults(None);
    let signature = &function.sig;
    check_form(kind, signature, &mut faults);
    let context = context(kind, signature, &mut faults);
    let arguments = arguments(kind, signature, &mut faults);
    let output = output(kind, signature, &mut faults);
    match (faults.0, context, output) {
        (None, Some(context), Some(output)) => {
            let parameters = function.sig.paren_token.span.join();
            Ok(Checked { context, parameters, arguments, output, function })
        }
        (Some(fault), ..) => Err(fault),
        (None, ..) => Err(fault_at(signature, format!("this is not {}", kind.thing()))),
    }
}

/// The faults so far, as one error.
struct Faults(Option<Error>);

impl Faults {
    fn add(&mut self, fault: Error) {
        match &mut self.0 {
            Some(faults) => faults.combine(fault),
            None => self.0 = Some(fault),
        }
    }
}

fn fault_at(culprit: impl ToTokens, message: impl std::fmt::Display) -> Error {
    Error::new_spanned(culprit, message)
}

fn check_form(kind: Kind, signature: &Signature, faults: &mut Faults) {
    let thing = kind.thing();
    if signature.asyncness.is_none() {
        faults.add(fault_at(signature.fn_token, format!("{thing} is an `async fn`: write `async` before `fn`")));
    }
    if let Some(constness) = &signature.constness {
        faults.add(fault_at(constness, format!("{thing} cannot be `const`")));
    }
    if let Some(unsafety) = &signature.unsafety {
        faults.add(fault_at(unsafety, format!("{thing} cannot be `unsafe`: the engine calls it")));
    }
    if let Some(abi) = &signature.abi {
        faults.add(fault_at(abi, format!("{thing} cannot be `extern`: the engine calls it")));
    }
    if signature.generics.type_params().next().is_some() || signature.generics.const_params().next().is_some() {
        let message = format!("{thing} cannot be generic: it has one recorded name, so it needs one type per argument");
        faults.add(fault_at(&signature.generics.params, message));
    } else if !signature.generics.params.is_empty() {
        let message = match kind {
            Kind::Activity => "an activity cannot have lifetimes: its arguments are recorded, so they are owned",
            Kind::Workflow => "a workflow needs no lifetime of its own: write `WorkflowContext<'_>`",
        };
        faults.add(fault_at(&signature.generics.params, message));
    } else if let Some(clause) = &signature.generics.where_clause {
        faults.add(fault_at(clause, format!("{thing} cannot have a `where` clause: it has no generics")));
    }
}

/// The first parameter's type, if it is the context. Known by its last name: macros see no types.
fn context(kind: Kind, signature: &Signature, faults: &mut Faults) -> Option<Type> {
    let (own, other, example) = match kind {
        Kind::Activity => ("ActivityContext", "WorkflowContext", "act: ActivityContext"),
        Kind::Workflow => ("WorkflowContext", "ActivityContext", "ctx: WorkflowContext<'_>"),
    };
    let thing = kind.thing();
    let missing = format!("the first parameter of {thing} is its context: write `{example}`");
    let first = match signature.inputs.first() {
        // A receiver is reported among the arguments.
        Some(FnArg::Receiver(_)) => return None,
        Some(FnArg::Typed(first)) => first,
        None => {
            faults.add(Error::new(signature.paren_token.span.join(), missing));
            return None;
        }
    };
    let found = last_name(&first.ty);
    if found.as_ref().is_some_and(|name| name == own) {
        return Some((*first.ty).clone());
    }
    let message = match &*first.ty {
        Type::Reference(reference) if last_name(&reference.elem).is_some_and(|name| name == own) => {
            format!("take the context by value: write `{example}`")
        }
        _ if found.is_some_and(|name| name == other) => {
            format!("`{other}` is not the context of {thing}: write `{example}`")
        }
        _ => missing,
    };
    faults.add(fault_at(&first.ty, message));
    None
}

fn last_name(ty: &Type) -> Option<Ident> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.clone()),
        Type::Group(group) => last_name(&group.elem),
        Type::Paren(paren) => last_name(&paren.elem),
        _ => None,
    }
}

fn arguments(kind: Kind, signature: &Signature, faults: &mut Faults) -> Vec<Argument> {
    let mut arguments = Vec::new();
    for (index, input) in signature.inputs.iter().enumerate() {
        match input {
            FnArg::Receiver(receiver) => {
                let instead = match kind {
                    Kind::Activity => "share things between calls with `.state(..)`, and take them with `act.state()`",
                    Kind::Workflow => "its state is its local variables",
                };
                faults.add(fault_at(receiver, format!("{} is a free function, not a method: {instead}", kind.thing())));
            }
            FnArg::Typed(_) if index == 0 => {}
            FnArg::Typed(typed) => arguments.push(argument(kind, index, typed, faults)),
        }
    }
    if let Some(variadic) = &signature.variadic {
        faults.add(fault_at(variadic, format!("{} has a fixed number of arguments", kind.thing())));
    }
    if let Some(over) = arguments.get(ARGUMENTS_MAX) {
        let message = format!("{} has at most {ARGUMENTS_MAX} arguments: put some into a struct", kind.thing());
        faults.add(Error::new(over.name.span(), message));
    }
    arguments
}

fn argument(kind: Kind, index: usize, typed: &PatType, faults: &mut Faults) -> Argument {
    if last_name(&typed.ty).is_some_and(|name| name == "ActivityContext" || name == "WorkflowContext") {
        faults.add(fault_at(&typed.ty, format!("the context of {} stands first, and once", kind.thing())));
    } else if let Some(problem) = unrecordable(&typed.ty) {
        let message = match problem {
            Unrecordable::Borrowed => format!(
                "take an owned value{}: arguments are recorded, and may be read by another process",
                owned(&typed.ty)
            ),
            Unrecordable::Unnamed => {
                "name the type: arguments are recorded, so their type must be known from the record alone".to_owned()
            }
        };
        faults.add(fault_at(&typed.ty, message));
    }
    // The body keeps the pattern; the constructor of a call only needs a name to pass the value on by.
    let name = match &*typed.pat {
        Pat::Ident(pattern) if pattern.by_ref.is_none() && pattern.subpat.is_none() => pattern.ident.clone(),
        pattern => format_ident!("argument_{index}", span = pattern.span()),
    };
    Argument { name, ty: (*typed.ty).clone() }
}

fn output(kind: Kind, signature: &Signature, faults: &mut Faults) -> Option<Type> {
    let ReturnType::Type(_, output) = &signature.output else {
        let message = match kind {
            Kind::Activity => {
                "an activity returns `Result<T, E>`; one that cannot fail returns `Result<(), antiphon::Never>`"
            }
            Kind::Workflow => "a workflow returns `antiphon::Result<T, E>`",
        };
        faults.add(Error::new(end_of(signature), message));
        return None;
    };
    match unrecordable(output) {
        Some(Unrecordable::Borrowed) => {
            faults.add(fault_at(
                output,
                "return owned values: the result is recorded, and may be read by another process",
            ));
        }
        Some(Unrecordable::Unnamed) => {
            faults.add(fault_at(
                output,
                "name the type: the result is recorded, so its type must be known from the record",
            ));
        }
        None => {}
    }
    Some((**output).clone())
}

fn end_of(signature: &Signature) -> Span {
    signature.paren_token.span.close()
}

enum Unrecordable {
    Borrowed,
    Unnamed,
}

/// Whether a type borrows or hides anything, anywhere inside it. Looks at tokens: in the type of a value that serde can
/// read, `&`, a lifetime and `impl` have no other meaning.
fn unrecordable(ty: &Type) -> Option<Unrecordable> {
    fn look(tokens: TokenStream) -> Option<Unrecordable> {
        let mut after_quote = false;
        for token in tokens {
            let was_quote = std::mem::take(&mut after_quote);
            match token {
                TokenTree::Group(group) => {
                    if let Some(found) = look(group.stream()) {
                        return Some(found);
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == '&' => return Some(Unrecordable::Borrowed),
                TokenTree::Punct(punct) => after_quote = punct.as_char() == '\'',
                TokenTree::Ident(ident) if was_quote && ident != "static" => return Some(Unrecordable::Borrowed),
                TokenTree::Ident(ident) if !was_quote && ident == "impl" => return Some(Unrecordable::Unnamed),
                TokenTree::Ident(_) | TokenTree::Literal(_) => {}
            }
        }
        None
    }
    look(ty.to_token_stream())
}

/// What to write instead of a reference, where it is clear.
fn owned(ty: &Type) -> &'static str {
    match ty {
        Type::Reference(reference) => match &*reference.elem {
            Type::Slice(_) => ", such as a `Vec`",
            elem if last_name(elem).is_some_and(|name| name == "str") => ", such as a `String`",
            _ => ", without `&`",
        },
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::quote;

    fn checked(kind: Kind, function: TokenStream) -> Checked {
        check(kind, syn::parse2(function).unwrap()).unwrap_or_else(|fault| panic!("{fault}"))
    }

    fn faults(kind: Kind, function: TokenStream) -> Vec<String> {
        let fault = check(kind, syn::parse2(function).unwrap()).err().unwrap();
        fault.into_iter().map(|fault| fault.to_string()).collect()
    }

    fn only_fault(kind: Kind, function: TokenStream) -> String {
        let mut faults = faults(kind, function);
        assert_eq!(faults.len(), 1, "{faults:?}");
        faults.remove(0)
    }

    #[test]
    fn every_argument_has_a_name_whatever_its_pattern() {
        let checked = checked(
            Kind::Activity,
            quote! {
                async fn f(a: antiphon::ActivityContext, mut x: u8, (y, z): (u8, u8), _: u8, _w: u8, r#in: u8) -> Result<(), E> {}
            },
        );
        let names: Vec<_> = checked.arguments.iter().map(|argument| argument.name.to_string()).collect();
        assert_eq!(names, ["x", "argument_2", "argument_3", "_w", "r#in"]);
    }

    #[test]
    fn a_function_that_is_not_async_is_refused() {
        let fault = only_fault(
            Kind::Activity,
            quote!(
                fn f(a: ActivityContext) -> Result<(), E> {}
            ),
        );
        assert_eq!(fault, "an activity is an `async fn`: write `async` before `fn`");
    }

    #[test]
    fn a_function_without_its_context_is_refused() {
        let none = only_fault(
            Kind::Activity,
            quote!(
                async fn f() -> Result<(), E> {}
            ),
        );
        assert!(none.contains("write `act: ActivityContext`"), "{none}");
        let absent = only_fault(
            Kind::Workflow,
            quote!(
                async fn f(order: u64) -> antiphon::Result<(), E> {}
            ),
        );
        assert!(absent.contains("write `ctx: WorkflowContext<'_>`"), "{absent}");
        let other = only_fault(
            Kind::Activity,
            quote!(
                async fn f(c: WorkflowContext<'_>) -> Result<(), E> {}
            ),
        );
        assert!(other.contains("`WorkflowContext` is not the context of an activity"), "{other}");
        let borrowed = only_fault(
            Kind::Activity,
            quote!(
                async fn f(c: &ActivityContext) -> Result<(), E> {}
            ),
        );
        assert!(borrowed.contains("take the context by value"), "{borrowed}");
        let late = quote!(
            async fn f(a: ActivityContext, b: ActivityContext) -> Result<(), E> {}
        );
        assert!(only_fault(Kind::Activity, late).contains("stands first, and once"));
    }

    #[test]
    fn a_method_is_refused() {
        let fault = only_fault(
            Kind::Activity,
            quote!(
                async fn f(&self, a: u8) -> Result<(), E> {}
            ),
        );
        assert!(fault.contains("a free function, not a method"), "{fault}");
        let fault = only_fault(
            Kind::Workflow,
            quote!(
                async fn f(self) -> antiphon::Result<(), E> {}
            ),
        );
        assert!(fault.contains("its state is its local variables"), "{fault}");
    }

    #[test]
    fn generics_and_unnamed_types_are_refused() {
        let generic = quote!(
            async fn f<T>(a: ActivityContext, x: T) -> Result<(), E> {}
        );
        assert!(only_fault(Kind::Activity, generic).contains("cannot be generic"));
        let constant = quote!(
            async fn f<const N: usize>(a: ActivityContext) -> Result<(), E> {}
        );
        assert!(only_fault(Kind::Activity, constant).contains("cannot be generic"));
        let lifetime = quote!(
            async fn f<'a>(c: WorkflowContext<'a>) -> antiphon::Result<(), E> {}
        );
        assert!(only_fault(Kind::Workflow, lifetime).contains("write `WorkflowContext<'_>`"));
        let clause = quote!(
            async fn f(a: ActivityContext) -> Result<(), E>
            where
                u8: Copy,
            {
            }
        );
        assert!(only_fault(Kind::Activity, clause).contains("`where` clause"));
        let unnamed = quote!(
            async fn f(a: ActivityContext, x: Vec<impl Into<u8>>) -> Result<(), E> {}
        );
        assert!(only_fault(Kind::Activity, unnamed).contains("name the type"));
        let hidden = quote!(
            async fn f(a: ActivityContext) -> Result<impl Copy, E> {}
        );
        assert!(only_fault(Kind::Activity, hidden).contains("name the type"));
    }

    #[test]
    fn borrowed_arguments_and_results_are_refused_wherever_the_borrow_stands() {
        let text = quote!(
            async fn f(a: ActivityContext, x: &str) -> Result<(), E> {}
        );
        let fault = only_fault(Kind::Activity, text);
        assert!(fault.starts_with("take an owned value, such as a `String`: arguments are recorded"), "{fault}");
        let slice = quote!(
            async fn f(a: ActivityContext, x: &[u8]) -> Result<(), E> {}
        );
        assert!(only_fault(Kind::Activity, slice).contains("such as a `Vec`"));
        let inside = quote!(
            async fn f(a: ActivityContext, x: Vec<(u8, Cow<'_, str>)>) -> Result<(), E> {}
        );
        assert!(only_fault(Kind::Activity, inside).contains("take an owned value:"));
        let result = quote!(
            async fn f(a: ActivityContext) -> Result<&'static str, E> {}
        );
        assert!(only_fault(Kind::Activity, result).contains("return owned values"));
        checked(
            Kind::Activity,
            quote!(
                async fn f(a: ActivityContext, x: Cow<'static, str>) -> Result<(), E> {}
            ),
        );
    }

    #[test]
    fn a_function_without_a_result_is_refused() {
        let fault = only_fault(
            Kind::Activity,
            quote!(
                async fn f(a: ActivityContext) {}
            ),
        );
        assert!(fault.contains("an activity returns `Result<T, E>`"), "{fault}");
        let fault = only_fault(
            Kind::Workflow,
            quote!(
                async fn f(c: WorkflowContext<'_>) {}
            ),
        );
        assert_eq!(fault, "a workflow returns `antiphon::Result<T, E>`");
    }

    #[test]
    fn twelve_arguments_are_taken_and_thirteen_refused() {
        let function = |count: usize| {
            let names = (0..count).map(|index| format_ident!("x{index}"));
            quote!(async fn f(a: ActivityContext #(, #names: u8)*) -> Result<(), E> {})
        };
        assert_eq!(checked(Kind::Activity, function(12)).arguments.len(), 12);
        assert!(only_fault(Kind::Activity, function(13)).contains("at most 12 arguments"));
    }

    #[test]
    fn all_faults_of_a_function_are_told_at_once() {
        let faults = faults(
            Kind::Activity,
            quote!(
                unsafe fn f<T>(x: u8, y: &T) {}
            ),
        );
        assert_eq!(faults.len(), 6, "{faults:?}");
    }
}
