//! A call of an activity before a context has it: encoded arguments and options, no place in a run yet.

use crate::error::CallRefused;
use crate::options::{CallOptions, call_builder};
use crate::value::EncodeError;
use crate::{ActivityDefinition, Args};
use antiphon_history::{ActivityCall, IdError, Payload, Site};
use std::fmt;
use std::marker::PhantomData;

/// One call of the activity `D`, made by the function that [`activity`](crate::activity) leaves behind.
///
/// It does nothing until it is handed to a context. Arguments are encoded at once; a fault in them or in an option
/// becomes the outcome of the call ([`CallError::Refused`](crate::CallError::Refused)), and then nothing is recorded.
#[must_use = "a call does nothing until it is handed to a context: `ctx.call(..).await`"]
pub struct Call<D: ActivityDefinition> {
    input: Result<Vec<Payload>, EncodeError>,
    options: CallOptions,
    // `fn() -> D`: a call holds no definition, so it is `Send` whatever `D` is.
    definition: PhantomData<fn() -> D>,
}

impl<D: ActivityDefinition> Call<D> {
    /// A call with these arguments and the default options.
    pub fn new(args: D::Args) -> Call<D> {
        Call { input: args.to_payloads(), options: CallOptions::default(), definition: PhantomData }
    }

    call_builder!();

    /// The call as it is recorded; its site is left empty for the context to fill in.
    ///
    /// Errors: [`CallRefused`], for the first argument that cannot be written, an unusable name, or an impossible
    /// option.
    pub fn into_parts(self) -> Result<ActivityCall, CallRefused> {
        let (input, options) = self.split();
        activity_call::<D>(input, options)
    }

    /// The encoded arguments and the options, for a pending call on which the builder goes on.
    pub(crate) fn split(self) -> (Result<Vec<Payload>, EncodeError>, CallOptions) {
        (self.input, self.options)
    }

    fn options_mut(&mut self) -> &mut CallOptions {
        &mut self.options
    }
}

/// The recorded form of a call whose halves went separate ways.
pub(crate) fn activity_call<D: ActivityDefinition>(
    input: Result<Vec<Payload>, EncodeError>,
    options: CallOptions,
) -> Result<ActivityCall, CallRefused> {
    // The macro refuses unusable names, but a definition may also be written by hand.
    IdError::check("activity name", D::NAME)?;
    let input = input?;
    let (queue, options) = options.finish()?;
    Ok(ActivityCall { activity_type: D::NAME.into(), queue: queue.into(), input, options, site: Site::default() })
}

impl<D: ActivityDefinition> fmt::Debug for Call<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("activity", &D::NAME)
            .field("input", &self.input)
            .field("options", &self.options)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ActivityContext, Never, secs};

    struct Charge;
    impl ActivityDefinition for Charge {
        const NAME: &'static str = "pay.charge";
        const SITE: &'static str = "here:1";
        type Args = (u64, String);
        type Output = ();
        type Error = Never;
        async fn run(_: ActivityContext, _: (u64, String)) -> Result<(), Never> {
            Ok(())
        }
    }

    fn charge(order: u64, card: impl Into<String>) -> Call<Charge> {
        Call::new((order, card.into()))
    }

    #[test]
    fn a_call_becomes_what_is_recorded_of_it() {
        let call = charge(7, "visa").queue("pay").attempts(3).start_to_close(secs(30)).into_parts().unwrap();
        assert_eq!(call.to_string(), "pay.charge(7, \"visa\") queue=pay start_to_close_ms=30000 attempts=3");
        assert!(call.site.is_unknown());
    }

    #[test]
    fn a_fault_in_an_argument_or_an_option_surfaces_when_the_call_is_used() {
        let large = charge(7, "x".repeat(3_000_000)).into_parts().unwrap_err();
        assert!(matches!(large, CallRefused::Unencodable(EncodeError::TooLarge { bytes: 3_000_002, .. })), "{large}");
        let zero = charge(7, "visa").attempts(0).into_parts().unwrap_err();
        assert!(matches!(zero, CallRefused::Option(_)), "{zero}");
    }

    #[test]
    fn a_definition_with_an_unusable_name_is_refused() {
        struct Nameless;
        impl ActivityDefinition for Nameless {
            const NAME: &'static str = "";
            const SITE: &'static str = "here:2";
            type Args = ();
            type Output = ();
            type Error = Never;
            async fn run(_: ActivityContext, (): ()) -> Result<(), Never> {
                Ok(())
            }
        }
        let refused = Call::<Nameless>::new(()).into_parts().unwrap_err();
        assert!(refused.to_string().ends_with("[A0012]"), "{refused}");
    }

    #[test]
    fn a_call_can_cross_threads_and_hides_its_arguments_in_debug_prints() {
        fn check<T: Send + Sync>(call: &T) -> &T {
            call
        }
        let text = format!("{:?}", check(&charge(7, "secret")));
        assert!(text.contains("pay.charge") && !text.contains("secret"), "{text}");
    }
}
