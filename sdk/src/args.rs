//! The arguments of a definition as the record keeps them: one payload each, in order.

use crate::value::{DecodeError, EncodeError, Place, decode_at, encode_at};
use antiphon_history::Payload;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Arguments that can be recorded: a tuple of none to twelve values that serde can write and read.
///
/// The same values must always be written as the same bytes, because replay compares them with the record. Types of
/// the standard library do, but for `HashMap` and `HashSet`, whose order changes from run to run: take `BTreeMap` and
/// `BTreeSet` instead.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be recorded as arguments",
    label = "not a tuple of at most twelve owned values that serde can write and read",
    note = "derive `serde::Serialize` and `serde::Deserialize` for the types of the arguments"
)]
pub trait Args: Sized + 'static {
    /// Writes every argument as one payload.
    ///
    /// Errors: [`EncodeError`] of the first argument that cannot be written.
    fn to_payloads(&self) -> Result<Vec<Payload>, EncodeError>;

    /// Reads the arguments back.
    ///
    /// Errors: [`DecodeError::Count`] if there are more or fewer, else that of the first argument that cannot be read.
    fn from_payloads(payloads: &[Payload]) -> Result<Self, DecodeError>;
}

macro_rules! args {
    ($count:literal: $($number:literal $value:ident $Type:ident),*) => {
        impl<$($Type),*> Args for ($($Type,)*)
        where
            $($Type: Serialize + DeserializeOwned + 'static,)*
        {
            fn to_payloads(&self) -> Result<Vec<Payload>, EncodeError> {
                let ($($value,)*) = self;
                Ok(vec![$(encode_at(Place::Argument { number: $number }, $value)?),*])
            }

            fn from_payloads(payloads: &[Payload]) -> Result<Self, DecodeError> {
                let [$($value),*] = payloads else {
                    return Err(DecodeError::Count { expected: $count, found: payloads.len() as u64 });
                };
                Ok(($(decode_at::<$Type>(Place::Argument { number: $number }, $value)?,)*))
            }
        }
    };
}

args!(0:);
args!(1: 1 a A);
args!(2: 1 a A, 2 b B);
args!(3: 1 a A, 2 b B, 3 c C);
args!(4: 1 a A, 2 b B, 3 c C, 4 d D);
args!(5: 1 a A, 2 b B, 3 c C, 4 d D, 5 e E);
args!(6: 1 a A, 2 b B, 3 c C, 4 d D, 5 e E, 6 f F);
args!(7: 1 a A, 2 b B, 3 c C, 4 d D, 5 e E, 6 f F, 7 g G);
args!(8: 1 a A, 2 b B, 3 c C, 4 d D, 5 e E, 6 f F, 7 g G, 8 h H);
args!(9: 1 a A, 2 b B, 3 c C, 4 d D, 5 e E, 6 f F, 7 g G, 8 h H, 9 i I);
args!(10: 1 a A, 2 b B, 3 c C, 4 d D, 5 e E, 6 f F, 7 g G, 8 h H, 9 i I, 10 j J);
args!(11: 1 a A, 2 b B, 3 c C, 4 d D, 5 e E, 6 f F, 7 g G, 8 h H, 9 i I, 10 j J, 11 k K);
args!(12: 1 a A, 2 b B, 3 c C, 4 d D, 5 e E, 6 f F, 7 g G, 8 h H, 9 i I, 10 j J, 11 k K, 12 l L);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_one_payload_each_and_read_back_in_order() {
        let args = (7u64, "x".to_owned(), Some(true));
        let payloads = args.to_payloads().unwrap();
        assert_eq!(payloads, ["7", "\"x\"", "true"].map(|json| Payload::json(json.as_bytes())));
        assert_eq!(<(u64, String, Option<bool>)>::from_payloads(&payloads).unwrap(), args);
    }

    #[test]
    fn no_arguments_are_no_payloads() {
        assert_eq!(().to_payloads().unwrap(), []);
        <()>::from_payloads(&[]).unwrap();
    }

    #[test]
    fn twelve_arguments_keep_their_places() {
        let args = (1u8, 2u8, 3u8, 4u8, 5u8, 6u8, 7u8, 8u8, 9u8, 10u8, 11u8, 12u8);
        let payloads = args.to_payloads().unwrap();
        assert_eq!(payloads.len(), 12);
        type Twelve = (u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8, u8);
        assert_eq!(Twelve::from_payloads(&payloads).unwrap(), args);
    }

    #[test]
    fn a_wrong_number_of_arguments_is_named() {
        let payloads = (1u8, 2u8).to_payloads().unwrap();
        let refused = <(u8,)>::from_payloads(&payloads).unwrap_err();
        assert_eq!(refused, DecodeError::Count { expected: 1, found: 2 });
        assert_eq!(
            refused.to_string(),
            "2 arguments are recorded and the code takes 1: the code has changed since [A0016]"
        );
    }

    #[test]
    fn the_argument_that_cannot_be_read_or_written_is_named() {
        let payloads = (1u8, "x".to_owned()).to_payloads().unwrap();
        let refused = <(u8, u64)>::from_payloads(&payloads).unwrap_err().to_string();
        assert!(refused.starts_with("argument 2 cannot be read as u64: invalid type"), "{refused}");
        let large = "x".repeat(antiphon_history::limits::PAYLOAD_MAX_BYTES);
        let refused = (1u8, 2u8, large).to_payloads().unwrap_err().to_string();
        assert!(refused.starts_with("argument 3 of type alloc::string::String takes 2097154 bytes"), "{refused}");
    }
}
