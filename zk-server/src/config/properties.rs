//! Java's properties format, which `zoo.cfg` is written in (`java.util.Properties.load`).
//!
//! Key and value are separated by `=`, `:` or blanks; `#` and `!` begin a comment; a backslash at the end of a
//! line joins it with the next one, and elsewhere escapes a character. Java reads the bytes as Latin-1; here a
//! file that is UTF-8 is read as UTF-8, since nobody who writes `ü` means `Ã¼`.

use std::borrow::Cow;

/// A key and its value.
pub(crate) type Entry = (String, String);

/// Reads a whole file, in its order; a key that comes twice appears twice.
///
/// # Errors
/// What is wrong and where: only a malformed `\uXXXX` can be.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Entry>, String> {
    let text = decode(bytes);
    let mut entries = Vec::new();
    let mut lines = text.split(['\n', '\r']);
    while let Some(line) = lines.next() {
        let start = line.trim_start_matches(BLANKS);
        if start.is_empty() || start.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = start.to_owned();
        while ends_with_continuation(&logical) {
            logical.pop();
            let Some(next) = lines.next() else { break };
            logical.push_str(next.trim_start_matches(BLANKS));
        }
        entries.push(split(&logical)?);
    }
    Ok(entries)
}

const BLANKS: [char; 3] = [' ', '\t', '\x0c'];

fn decode(bytes: &[u8]) -> String {
    let text = match str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    };
    text.replace("\r\n", "\n")
}

/// An odd number of backslashes at the end: the last one is not escaped itself.
fn ends_with_continuation(line: &str) -> bool {
    let slashes = line.len() - line.trim_end_matches('\\').len();
    slashes % 2 == 1
}

fn split(line: &str) -> Result<Entry, String> {
    let mut escaped = false;
    let is_end = |c: char| {
        let end = !escaped && (BLANKS.contains(&c) || c == '=' || c == ':');
        escaped = c == '\\' && !escaped;
        end
    };
    let (key, rest) = line.split_at(line.find(is_end).unwrap_or(line.len()));
    let rest = rest.trim_start_matches(BLANKS);
    let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    let value = value.trim_start_matches(BLANKS);
    Ok((unescape(key)?, unescape(value)?))
}

fn unescape(text: &str) -> Result<String, String> {
    let mut units = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next() {
                Some('u') => {
                    let rest = chars.as_str();
                    units.push(hex_unit(rest).ok_or_else(|| malformed(text))?);
                    chars = rest.get(4..).unwrap_or_default().chars();
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some(other) => other,
                None => break,
            },
            c => c,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    Ok(String::from_utf16_lossy(&units))
}

/// Four hexadecimal digits: one UTF-16 unit, of which a character outside the first plane takes two.
fn hex_unit(text: &str) -> Option<u16> {
    let four = text.get(..4)?;
    let hex = four.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u16::from_str_radix(four, 16).ok()).flatten()
}

fn malformed(text: &str) -> String {
    format!("malformed \\uXXXX in {text:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let found = parse(text.as_bytes()).unwrap();
        let found: Vec<_> = found.iter().map(|(k, v)| (&**k, &**v)).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn separators_comments_and_blank_lines_are_javas() {
        check("a=1\nb:2\nc 3\n", &[("a", "1"), ("b", "2"), ("c", "3")]);
        check("  a \t=  1  \r\n\r\n \x0c\n", &[("a", "1  ")]);
        check(
            "# a=1\n  ! b=2\nc=3 # no comment",
            &[("c", "3 # no comment")],
        );
        check(
            "a==1\nb=:2\nc = = 3",
            &[("a", "=1"), ("b", ":2"), ("c", "= 3")],
        );
        check("alone\n=nokey\n", &[("alone", ""), ("", "nokey")]);
        check("a=1\rb=2\r\nc=3", &[("a", "1"), ("b", "2"), ("c", "3")]);
    }

    #[test]
    fn a_backslash_continues_a_line_or_escapes_a_character() {
        check(
            "a=1,\\\n    2,\\\r\n\t3\nb=4",
            &[("a", "1,2,3"), ("b", "4")],
        );
        check("a=x\\\\\nb=2", &[("a", "x\\"), ("b", "2")]);
        check("a=1\\\n# not a comment", &[("a", "1# not a comment")]);
        check("# a comment does not continue \\\na=1", &[("a", "1")]);
        check("dataDir=C:\\\\zk\\\\data", &[("dataDir", "C:\\zk\\data")]);
        check(r"a\=b\:c\ d=\t\u00e9\q", &[("a=b:c d", "\t\u{e9}q")]);
        check(r"a=\ud83d\ude00", &[("a", "\u{1f600}")]);
        check("a=1\\", &[("a", "1")]);
    }

    #[test]
    fn what_is_not_utf8_is_latin1_and_a_bad_escape_is_an_error() {
        check("a=\u{fc}", &[("a", "\u{fc}")]);
        let latin1 = parse(b"a=\xfc").unwrap();
        assert_eq!(latin1, [("a".to_owned(), "\u{fc}".to_owned())]);
        for bad in [r"a=\u12", r"a=\u12g4", "a=\\u\u{e9}\u{e9}"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
