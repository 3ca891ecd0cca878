//! What a checked function becomes. Every path is absolute, and every name of ours is invisible to the author's code.

use crate::attribute::{Attribute, Kind};
use crate::signature::{Argument, Checked, check};
use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Error, ItemFn, Result, Type, Visibility};

/// Expands one definition; a fault becomes a compile error at its place.
pub(crate) fn definition(kind: Kind, attribute: TokenStream, item: TokenStream) -> TokenStream {
    expand(kind, attribute, item).unwrap_or_else(Error::into_compile_error)
}

fn expand(kind: Kind, attribute: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function = syn::parse2::<ItemFn>(item).map_err(|fault| {
        // The parser's words stay where the function itself is broken; what follows is for a struct or a trait method.
        let said = fault.to_string();
        let hint =
            if said.contains("`fn`") { format!("{} goes on an `async fn`: ", kind.attribute()) } else { String::new() };
        Error::new(fault.span(), format!("{hint}{said}"))
    })?;
    let parts = match (Attribute::parse(kind, attribute), check(kind, function)) {
        (Ok(attribute), Ok(checked)) => Parts::new(kind, &attribute, checked)?,
        (Err(mut faults), Err(more)) => {
            faults.combine(more);
            return Err(faults);
        }
        (Err(faults), _) | (_, Err(faults)) => return Err(faults),
    };
    let (body, constructor) = (parts.body(), parts.constructor());
    let definition = match kind {
        Kind::Activity => parts.activity(),
        Kind::Workflow => parts.workflow(),
    };
    Ok(quote!(#body #definition #constructor))
}

/// Everything that the expansion is made of.
struct Parts {
    kind: Kind,
    name: String,
    version: u32,
    fatal: Option<TokenStream>,
    ident: Ident,
    visibility: Visibility,
    attributes: Attributes,
    function: ItemFn,
    context: Type,
    parameters: Span,
    names: Vec<Ident>,
    types: Vec<Type>,
    output: Type,
}

/// The author's attributes, by the items on which they make sense.
#[derive(Default)]
struct Attributes {
    /// On every item: conditions, and lint levels that may be about the name or the types.
    everywhere: TokenStream,
    /// On the two items that readers of the documentation meet.
    docs: TokenStream,
    /// On the constructor, which is what others use.
    constructor: TokenStream,
    /// On the body: all others, such as those of tracing libraries.
    body: TokenStream,
}

impl Parts {
    fn new(kind: Kind, attribute: &Attribute, checked: Checked) -> Result<Parts> {
        let Checked { mut function, context, parameters, arguments, output } = checked;
        let mut attributes = Attributes::default();
        for attribute in std::mem::take(&mut function.attrs) {
            let name = attribute.path().get_ident().map(Ident::to_string).unwrap_or_default();
            let place = match name.as_str() {
                "cfg" | "allow" | "warn" | "deny" | "forbid" => &mut attributes.everywhere,
                "doc" => &mut attributes.docs,
                "deprecated" => &mut attributes.constructor,
                _ => &mut attributes.body,
            };
            attribute.to_tokens(place);
        }
        let (names, types) = arguments.into_iter().map(|Argument { name, ty }| (name, ty)).unzip();
        Ok(Parts {
            kind,
            name: attribute.name_or(&function.sig.ident)?,
            version: attribute.version.unwrap_or(1),
            fatal: attribute.fatal.as_ref().map(ToTokens::to_token_stream),
            ident: function.sig.ident.clone(),
            visibility: function.vis.clone(),
            attributes,
            function,
            context,
            parameters,
            names,
            types,
            output,
        })
    }

    /// The type that stands for the definition, and the body as its associated function.
    fn body(&self) -> TokenStream {
        let Parts { ident, visibility, function, .. } = self;
        let Attributes { everywhere, docs, body, .. } = &self.attributes;
        let own = match self.kind {
            Kind::Activity => format!("The activity `{}`.", self.name),
            Kind::Workflow => format!("The workflow `{}`, version {}.", self.name, self.version),
        };
        let docs = if docs.is_empty() { quote!(#[doc = #own]) } else { docs.clone() };
        let mut signature = function.sig.clone();
        signature.ident = Ident::new("run", ident.span());
        let block = &function.block;
        // Braces, not `struct charge;`: a unit struct would also take the name among the values, where the
        // constructor stands.
        quote! {
            #everywhere
            #docs
            #[allow(non_camel_case_types, dead_code, unreachable_pub, missing_debug_implementations)]
            #visibility struct #ident {}

            #everywhere
            impl #ident {
                /// The body alone, for unit tests: nothing is recorded.
                #body
                #[allow(dead_code, unreachable_pub, clippy::too_many_arguments)]
                #[allow(clippy::unused_async, clippy::missing_errors_doc, clippy::missing_panics_doc)]
                #visibility #signature #block
            }
        }
    }

    fn activity(&self) -> TokenStream {
        let Parts { ident, output, name, .. } = self;
        let everywhere = &self.attributes.everywhere;
        let args = self.args();
        let (context, values, run) = self.run();
        let ok = quote_spanned!(at(output)=> <#output as ::antiphon::__private::Fallible>::Ok);
        let error = quote_spanned!(at(output)=> <#output as ::antiphon::__private::Fallible>::Error);
        let future = quote_spanned! {at(ident)=>
            impl ::core::future::Future<Output = ::core::result::Result<Self::Output, Self::Error>>
                + ::core::marker::Send
                + 'static
        };
        let is_fatal = self.fatal.as_ref().map(|fatal| {
            let value = hidden("error");
            let call = quote_spanned!(at(fatal)=> #fatal(#value));
            quote!(fn is_fatal(#value: &Self::Error) -> bool { #call })
        });
        quote! {
            #everywhere
            impl ::antiphon::ActivityDefinition for #ident {
                const NAME: &'static str = #name;
                const SITE: &'static str = ::core::concat!(::core::file!(), ":", ::core::line!());
                #args
                type Output = #ok;
                type Error = #error;

                fn run(#context: ::antiphon::ActivityContext, #values: Self::Args) -> #future {
                    #run
                }

                #is_fatal
            }
        }
    }

    fn workflow(&self) -> TokenStream {
        let Parts { ident, output, name, version, .. } = self;
        let everywhere = &self.attributes.everywhere;
        let args = self.args();
        let (context, values, run) = self.run();
        let ok = quote_spanned!(at(output)=> <#output as ::antiphon::__private::WorkflowFallible>::Ok);
        let error = quote_spanned!(at(output)=> <#output as ::antiphon::__private::WorkflowFallible>::Error);
        let future = quote_spanned! {at(ident)=>
            impl ::core::future::Future<Output = ::antiphon::Result<Self::Output, Self::Error>> + 'run
        };
        quote! {
            #everywhere
            impl ::antiphon::WorkflowDefinition for #ident {
                const NAME: &'static str = #name;
                const VERSION: u32 = #version;
                const SITE: &'static str = ::core::concat!(::core::file!(), ":", ::core::line!());
                #args
                type Output = #ok;
                type Error = #error;

                fn run<'run>(#context: ::antiphon::WorkflowContext<'run>, #values: Self::Args) -> #future {
                    #run
                }
            }
        }
    }

    /// The tuple of argument types. It stands where the parameters stand: a type that cannot be recorded is found there.
    fn args(&self) -> TokenStream {
        let types = &self.types;
        let mut tuple = Group::new(Delimiter::Parenthesis, quote!(#(#types,)*));
        tuple.set_span(self.parameters.resolved_at(Span::call_site()));
        quote!(type Args = #tuple;)
    }

    /// The names of the two parameters of the definition's `run`, and its body: the author's `run` with the tuple spread.
    fn run(&self) -> (Ident, Ident, TokenStream) {
        let (context, values) = (hidden("context"), hidden("values"));
        let spread: Vec<Ident> = (0..self.names.len()).map(|index| hidden(&format!("value_{index}"))).collect();
        let ident = &self.ident;
        // A context of the author's own type, with the same name, is a mismatch here and is told at the parameter.
        let mut passed = context.clone();
        passed.set_span(context.span().located_at(self.context.span()));
        // An associated function of the type itself goes before one of a trait, so this is the author's.
        let run = quote!(let (#(#spread,)*) = #values; #ident::run(#passed #(, #spread)*));
        (context, values, run)
    }

    fn constructor(&self) -> TokenStream {
        let Parts { ident, visibility, names, types, .. } = self;
        let Attributes { everywhere, docs, constructor, .. } = &self.attributes;
        let (call, must_use) = match self.kind {
            Kind::Activity => (
                format_ident!("Call"),
                format!("this only describes a call: hand it to a context, as in `ctx.call({ident}(..)).await`"),
            ),
            Kind::Workflow => {
                (format_ident!("WorkflowCall"), "this only describes a start: hand it to a client".to_owned())
            }
        };
        quote! {
            #everywhere
            #docs
            #constructor
            #[must_use = #must_use]
            #[allow(clippy::too_many_arguments)]
            #visibility fn #ident(#(#names: #types),*) -> ::antiphon::#call<#ident> {
                ::antiphon::#call::new((#(#names,)*))
            }
        }
    }
}

/// The place of something that the author wrote, for code that we wrote: messages point there, and lints that are about
/// handwritten code still pass by.
fn at(culprit: &impl Spanned) -> Span {
    culprit.span().resolved_at(Span::call_site())
}

/// A name of ours that no name of the author's can meet.
fn hidden(name: &str) -> Ident {
    Ident::new(name, Span::mixed_site())
}

#[cfg(test)]
mod tests {
    use super::*;
    use syn::{File, Item};

    fn items(kind: Kind, attribute: TokenStream, function: TokenStream) -> Vec<Item> {
        syn::parse2::<File>(expand(kind, attribute, function).unwrap()).unwrap().items
    }

    fn text(item: &Item) -> String {
        item.to_token_stream().to_string()
    }

    #[test]
    fn a_function_becomes_a_type_its_body_its_definition_and_a_constructor() {
        let function = quote! {
            /// Charges the card.
            pub(crate) async fn charge(act: ActivityContext, mut order: u64) -> Result<u8, E> { order += 1; Ok(1) }
        };
        let items = items(Kind::Activity, quote!(name = "pay.charge", fatal = E::is_final), function);
        let [Item::Struct(definition), Item::Impl(body), Item::Impl(implementation), Item::Fn(constructor)] =
            &items[..]
        else {
            panic!("{}", items.iter().map(text).collect::<String>())
        };
        assert_eq!(definition.ident, "charge");
        assert!(matches!(definition.fields, syn::Fields::Named(_)));
        assert!(body.to_token_stream().to_string().contains("async fn run (act : ActivityContext , mut order : u64)"));
        let implementation = implementation.to_token_stream().to_string();
        assert!(implementation.contains("\"pay.charge\"") && implementation.contains("E :: is_final"));
        let constructor = constructor.to_token_stream().to_string();
        assert!(constructor.contains("pub (crate) fn charge (order : u64) -> :: antiphon :: Call < charge >"));
        assert!(constructor.contains("Charges the card."));
    }

    #[test]
    fn a_workflow_has_version_one_unless_it_says_otherwise() {
        let function = quote!(
            async fn order(ctx: WorkflowContext<'_>) -> antiphon::Result<(), E> {
                Ok(())
            }
        );
        let plain = items(Kind::Workflow, quote!(), function.clone());
        assert!(text(&plain[2]).contains("VERSION : u32 = 1u32") && text(&plain[2]).contains("\"order\""));
        let third = items(Kind::Workflow, quote!(version = 3), function);
        assert!(text(&third[2]).contains("VERSION : u32 = 3u32"));
    }

    #[test]
    fn conditions_stand_on_every_item_and_foreign_attributes_on_the_body_only() {
        let function = quote! {
            #[cfg(unix)]
            #[instrument]
            #[deprecated]
            async fn f(act: ActivityContext) -> Result<(), E> { Ok(()) }
        };
        let items = items(Kind::Activity, quote!(), function);
        let with = |attribute: &str| items.iter().map(|item| text(item).contains(attribute)).collect::<Vec<_>>();
        assert_eq!(with("# [cfg (unix)]"), [true; 4]);
        assert_eq!(with("# [instrument]"), [false, true, false, false]);
        assert_eq!(with("# [deprecated]"), [false, false, false, true]);
    }

    #[test]
    fn faults_of_the_brackets_and_of_the_function_are_told_together() {
        let fault = expand(
            Kind::Activity,
            quote!(nam = 1),
            quote!(
                fn f(act: ActivityContext) -> Result<(), E> {}
            ),
        );
        assert_eq!(fault.unwrap_err().into_iter().count(), 2);
    }

    #[test]
    fn what_is_no_function_is_refused_as_such() {
        let fault = expand(
            Kind::Workflow,
            quote!(),
            quote!(
                struct Order;
            ),
        )
        .unwrap_err()
        .to_string();
        assert!(fault.starts_with("#[workflow] goes on an `async fn`"), "{fault}");
    }
}
