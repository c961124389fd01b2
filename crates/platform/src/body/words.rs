//! What the reader of JSON and queries says, in words for people who know neither Rust nor serde.

/// The error's code, the field that it is about if the message alone names it, and its text.
type Said = (&'static str, Option<String>, String);

/// Of a message about a body.
pub(super) fn of_body(message: &str) -> Said {
    if let Some(field) = quoted_after(message, "missing field ") {
        return ("required", Some(field), "is required".to_owned());
    }
    if let Some(field) = quoted_after(message, "unknown field ") {
        return ("unknown_field", None, format!("`{field}` is not known here{}", those_there_are(message)));
    }
    if quoted_after(message, "duplicate field ").is_some() {
        return ("malformed", None, "is given twice".to_owned());
    }
    ("malformed", None, value(message))
}

/// Of a message about a query.
pub(super) fn of_query(message: &str) -> Said {
    if let Some(name) = quoted_after(message, "missing field ") {
        return ("required", Some(name), "is required".to_owned());
    }
    if let Some(name) = quoted_after(message, "duplicate field ") {
        return ("malformed", Some(name), "is given twice".to_owned());
    }
    let is_number =
        message.contains("digit found in string") || message.contains("integer from empty string");
    if is_number || message.starts_with("number too") {
        return ("malformed", None, "is not a whole number from 0 on".to_owned());
    }
    if message.contains("was not `true` or `false`") {
        return ("malformed", None, "is neither true nor false".to_owned());
    }
    ("malformed", None, value(message))
}

fn value(message: &str) -> String {
    if quoted_after(message, "unknown variant ").is_some() {
        return format!(
            "is not one of {}",
            quoted(after(message, "expected").unwrap_or_default()).join(", ")
        );
    }
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some(rest) = message.strip_prefix(kind)
            && let Some((found, expected)) = rest.rsplit_once(", expected ")
        {
            return format!("is {}, but should be {}", found_word(found), expected_word(expected));
        }
    }
    if message.starts_with("invalid length") && message.contains("expected struct") {
        return "is a list, but should be an object".to_owned();
    }
    if message.starts_with("data did not match any variant") {
        return "has none of the shapes that it may have: see the API's description".to_owned();
    }
    // The reader of times says what it stumbled over.
    let times =
        ["premature end of input", "input contains invalid", "input is out of range", "trailing input"];
    if times.iter().any(|time| message.starts_with(time)) {
        return "is not a time like 2026-01-31T12:00:00Z".to_owned();
    }
    message.to_owned()
}

fn found_word(found: &str) -> String {
    match found {
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        "unit value" => "null".to_owned(),
        "unit variant" | "newtype variant" | "struct variant" => "something else".to_owned(),
        _ => match found.strip_prefix("floating point ").or_else(|| found.strip_prefix("integer ")) {
            Some(number) => format!("the number {}", number.trim_matches('`')),
            None => match found.strip_prefix("string ") {
                Some(text) => format!("the text {text}"),
                None => found.trim_start_matches("boolean ").trim_matches('`').to_owned(),
            },
        },
    }
}

fn expected_word(expected: &str) -> String {
    let whole = |from: &str, to: &str| format!("a whole number from {from} to {to}");
    match expected {
        "u8" => whole("0", "255"),
        "u16" => whole("0", "65535"),
        "u32" => whole("0", "4294967295"),
        "u64" | "usize" => "a whole number from 0 on".to_owned(),
        "i8" | "i16" | "i32" | "i64" => "a whole number".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "an object".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a string" | "string" | "str" | "a borrowed string" => "text".to_owned(),
        _ if expected.contains("RFC 3339") || expected.contains("date and time") => {
            "a time like 2026-01-31T12:00:00Z".to_owned()
        }
        _ if expected.starts_with("struct ") || expected.starts_with("internally tagged enum ") => {
            "an object".to_owned()
        }
        _ if expected.starts_with("enum ") || expected == "variant identifier" => {
            "one of its names".to_owned()
        }
        _ if expected.starts_with("tuple ") || expected.starts_with("an array") => "a list".to_owned(),
        _ => expected.to_owned(),
    }
}

fn those_there_are(message: &str) -> String {
    match quoted(after(message, "expected").unwrap_or_default()).as_slice() {
        [] => String::new(),
        names => format!(": there are {}", names.join(", ")),
    }
}

fn after<'a>(message: &'a str, word: &str) -> Option<&'a str> {
    message.split_once(", ").map(|(_, rest)| rest).filter(|rest| rest.starts_with(word))
}

fn quoted_after(message: &str, start: &str) -> Option<String> {
    message.strip_prefix(start)?.strip_prefix('`')?.split_once('`').map(|(name, _)| name.to_owned())
}

/// Every text in backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_word_of_rust_reaches_a_caller() {
        let said = |message: &str| of_body(message).2;
        assert_eq!(said("invalid type: map, expected a string"), "is an object, but should be text");
        assert_eq!(said("invalid type: null, expected struct Part"), "is null, but should be an object");
        assert_eq!(
            said("invalid type: string \"a, b\", expected a sequence"),
            "is the text \"a, b\", but should be a list"
        );
        assert_eq!(
            said("invalid value: integer `-1`, expected u8"),
            "is the number -1, but should be a whole number from 0 to 255"
        );
        assert_eq!(
            said("invalid type: boolean `true`, expected u64"),
            "is true, but should be a whole number from 0 on"
        );
        assert_eq!(said("unknown variant `x`, expected one of `a`, `b`, `c`"), "is not one of a, b, c");
        assert_eq!(said("unknown field `x`, expected `a` or `b`"), "`x` is not known here: there are a, b");
        assert_eq!(said("unknown field `x`, there are no fields"), "`x` is not known here");
        assert_eq!(said("premature end of input"), "is not a time like 2026-01-31T12:00:00Z");
        assert_eq!(said("expected an identifier"), "expected an identifier");
    }
}
