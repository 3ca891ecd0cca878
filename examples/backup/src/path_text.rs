//! Paths as text that any path survives.
//!
//! A path on Unix is bytes; a manifest and a recorded input are text. UTF-8 stays as it is, so that people can read it;
//! other bytes, control characters and `%` itself become `%` and two hexadecimal digits.

use crate::Fault;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// Writes a path as text. Two paths never give the same text.
pub fn encode(path: &Path) -> String {
    let mut text = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '%' || character.is_control() {
                character.encode_utf8(&mut [0; 4]).bytes().for_each(|byte| escape(&mut text, byte));
            } else {
                text.push(character);
            }
        }
        chunk.invalid().iter().for_each(|byte| escape(&mut text, *byte));
    }
    text
}

fn escape(text: &mut String, byte: u8) {
    text.push_str(&format!("%{byte:02x}"));
}

/// Reads what [`encode`] wrote.
///
/// Errors: [`Fault::Refused`] if a `%` is not followed by two hexadecimal digits.
pub fn decode(text: &str) -> Result<PathBuf, Fault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let byte = after
            .split_at_checked(2)
            .and_then(|(digits, after)| Some((std::str::from_utf8(digits).ok()?, after)))
            .filter(|(digits, _)| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
            .and_then(|(digits, after)| Some((u8::from_str_radix(digits, 16).ok()?, after)));
        let Some((byte, after)) = byte else {
            return Err(Fault::Refused(format!("{text:?} is not a path as a manifest writes it: a lone %")));
        };
        bytes.push(byte);
        rest = after;
    }
    Ok(PathBuf::from(OsString::from_vec(bytes)))
}

/// Reads a path that must stay inside the folder that it is joined to.
///
/// Errors: [`Fault::Refused`] if it is absolute or climbs. A manifest that somebody altered must not write elsewhere.
pub fn decode_inside(text: &str) -> Result<PathBuf, Fault> {
    let path = decode(text)?;
    if text.is_empty() || !path.components().all(|component| matches!(component, Component::Normal(_))) {
        return Err(Fault::Refused(format!("{text:?} leads out of the folder: the manifest was altered")));
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_survive_and_utf8_stays_readable() {
        for bytes in
            [&b"plain/ascii.txt"[..], "grüße/😀".as_bytes(), b"a\nb%c\\d\"e", b"\xff\xfe/x\x80", b"100%", b"\xc3"]
        {
            let path = PathBuf::from(OsString::from_vec(bytes.to_vec()));
            let text = encode(&path);
            assert_eq!(decode(&text).unwrap(), path);
            assert!(!text.chars().any(char::is_control));
        }
        assert_eq!(encode(Path::new("grüße/a b")), "grüße/a b");
        assert_eq!(encode(Path::new("50%\n")), "50%25%0a");
    }

    #[test]
    fn a_lone_percent_and_a_path_that_climbs_are_refused() {
        for bad in ["%", "a%2", "%zz", "%+1"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
        for bad in ["", "/etc/passwd", "../x", "a/../../x", "a/%2e%2e/x"] {
            assert!(decode_inside(bad).is_err(), "{bad}");
        }
        assert_eq!(decode_inside("a/..b").unwrap(), Path::new("a/..b"));
    }
}
