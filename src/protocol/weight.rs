//! What a JSON text will weigh as a tree, guessed before there is one: a list of numbers takes thirty times its size,
//! nested empty lists more than a hundred times.

/// The text holds more than `most` values. Counts what separates and opens them, outside of strings; of a text that
/// is not JSON it says something or other.
pub fn has_more_values(text: &[u8], most: usize) -> bool {
    if text.len() <= most {
        return false;
    }
    let (mut count, mut in_string, mut escaped) = (0, false, false);
    for &byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b',' | b'[' | b'{' if !in_string => count += 1,
            _ => {}
        }
    }
    count > most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_count_and_strings_do_not() {
        for (text, most, more) in [
            ("[1,1,1,1]", 4, false),
            ("[1,1,1,1]", 3, true),
            (r#"{"a":{},"b":[[]]}"#, 5, false),
            (r#"{"a":{},"b":[[]]}"#, 4, true),
            (r#"["[[[[,,,,{{{{"]"#, 1, false),
            (r#"["\",\",\\",[]]"#, 3, false),
            (r#"["\",\",\\",[]]"#, 2, true),
            ("", 0, false),
        ] {
            assert_eq!(has_more_values(text.as_bytes(), most), more, "{text} {most}");
        }
    }

    #[test]
    fn every_value_of_a_tree_is_counted() {
        let mut random = crate::sys::testing::Random(0x5eed_0017);
        for _ in 0..5_000 {
            let mut text = br#"{"a":[1,[2,[],{}],"x,\"[{",{"b":null,"c":[[[]]]}],"d":"\\","e":[]}"#.to_vec();
            text = random.mutated(&text);
            if let Ok(tree) = serde_json::from_slice::<serde_json::Value>(&text) {
                let values = count(&tree);
                // Every value but the outermost stands behind one of the counted bytes.
                assert!(values < 2 || has_more_values(&text, values - 2), "{values}: {tree}");
                assert!(!has_more_values(&text, text.len()));
            }
        }
    }

    fn count(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
            serde_json::Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
            _ => 1,
        }
    }
}
