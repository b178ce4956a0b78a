//! JSON exactly as JavaScript prints it, so that `JSON.stringify(JSON.parse(text))` gives the same text.
//!
//! Receivers that parse before they verify sign what they print again; only a fixpoint passes both them and those that
//! verify the raw bytes. Against the usual printing that means: keys that are array indexes come first, ascending;
//! numbers are doubles in their shortest form (ECMA-262 §6.1.6.1.20); and nothing is escaped that need not be.

use serde_json::{Number, Value};

/// Above this, integers are not exact in a double.
const EXACT_MAX: u64 = 1 << 53;

/// `value` as JavaScript prints it.
pub(super) fn print(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => out.extend_from_slice(number_text(number).as_bytes()),
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(item, out);
            }
            out.push(b']');
        }
        Value::Object(entries) => {
            let mut indexed: Vec<_> = entries.iter().filter_map(|entry| Some((array_index(entry.0)?, entry))).collect();
            indexed.sort_unstable_by_key(|(index, _)| *index);
            let named = entries.iter().filter(|entry| array_index(entry.0).is_none());
            out.push(b'{');
            for (at, (key, item)) in indexed.into_iter().map(|(_, entry)| entry).chain(named).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_text(key, out);
                out.push(b':');
                write(item, out);
            }
            out.push(b'}');
        }
    }
}

/// Only `"`, `\` and U+0000–U+001F are escaped, the latter by `\b \t \n \f \r` or lower-case `\u00xx`: serde_json's
/// way is JavaScript's.
fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a string can be written to memory");
}

/// The number of a key that is an array index (ECMA-262 §6.1.7): canonical decimal, 0 to 2³² − 2.
fn array_index(key: &str) -> Option<u32> {
    let is_canonical = matches!(key.as_bytes(), [b'0'] | [b'1'..=b'9', ..]) && key.bytes().all(|b| b.is_ascii_digit());
    key.parse().ok().filter(|index| is_canonical && *index < u32::MAX)
}

fn number_text(number: &Number) -> String {
    let is_exact = number.as_i64().is_some_and(|integer| integer.unsigned_abs() <= EXACT_MAX);
    if is_exact { number.to_string() } else { number.as_f64().map_or_else(|| "null".to_owned(), double_text) }
}

fn double_text(double: f64) -> String {
    if double == 0.0 {
        return "0".to_owned();
    }
    if !double.is_finite() {
        return "null".to_owned();
    }
    let sign = if double < 0.0 { "-" } else { "" };
    let scientific = format!("{:e}", double.abs());
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let digits = mantissa.replace('.', "");
    let point = 1 + exponent.parse::<i32>().unwrap_or(0);
    let places = |count: i32| usize::try_from(count).unwrap_or(0);
    let (before, after) = digits.split_at(places(point).min(digits.len()));
    match point {
        1..=21 if after.is_empty() => format!("{sign}{digits:0<width$}", width = places(point)),
        1..=21 => format!("{sign}{before}.{after}"),
        -5..=0 => format!("{sign}0.{}{digits}", "0".repeat(places(-point))),
        _ => {
            let (first, rest) = digits.split_at(1);
            let dot = if rest.is_empty() { "" } else { "." };
            format!("{sign}{first}{dot}{rest}e{:+}", point - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let printed = print(&serde_json::from_str(text).unwrap());
        assert_eq!(String::from_utf8(printed.clone()).unwrap(), expected, "{text}");
        assert_eq!(print(&serde_json::from_slice(&printed).unwrap()), printed, "{text}");
    }

    #[test]
    fn keys_that_are_indexes_come_first() {
        check(r#"{"b":1,"10":1,"2":1,"a":1,"0":1}"#, r#"{"0":1,"2":1,"10":1,"b":1,"a":1}"#);
        check(r#"{"01":1,"-1":1,"1.5":1,"1":1}"#, r#"{"1":1,"01":1,"-1":1,"1.5":1}"#);
        check(r#"{"4294967295":1,"4294967294":1,"+3":1,"":1}"#, r#"{"4294967294":1,"4294967295":1,"+3":1,"":1}"#);
        check(r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#);
        check(r#"[{"x":[{"2":{},"1":[]}]}]"#, r#"[{"x":[{"1":[],"2":{}}]}]"#);
    }

    #[test]
    fn numbers_are_shortest_doubles() {
        for (double, expected) in [
            (1.0, "1"),
            (-0.0, "0"),
            (1e16, "10000000000000000"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (-1e-5, "-0.00001"),
            (0.000_001, "0.000001"),
            (1e-7, "1e-7"),
            (1.25e-9, "1.25e-9"),
            (5e-324, "5e-324"),
            (0.1, "0.1"),
            (-123.456, "-123.456"),
        ] {
            assert_eq!(String::from_utf8(print(&Value::from(double))).unwrap(), expected);
        }
        check("-0", "0");
        check("9007199254740992", "9007199254740992");
        check("9007199254740993", "9007199254740992");
        check("-9007199254740993", "-9007199254740992");
        check("18446744073709551615", "18446744073709552000");
        check("9223372036854775807", "9223372036854776000");
        check("[4.35,true,null]", "[4.35,true,null]");
        // Read one unit in the last place off unless care is taken.
        check("[0.30000000000000004,1.0584190917911333e-141]", "[0.30000000000000004,1.0584190917911333e-141]");
    }

    #[test]
    fn strings_are_escaped_as_little_as_can_be() {
        check(r#""\u0000\u001F\u007f\b\t\n\f\r\"\\\/""#, "\"\\u0000\\u001f\u{7f}\\b\\t\\n\\f\\r\\\"\\\\/\"");
        check(r#""<&>'\u2028\ud83d\ude00é""#, "\"<&>'\u{2028}😀é\"");
    }
}
