//! Rust's names for what schemas name in camel case.

/// Words of Rust that fields are called in schemas.
const KEYWORDS: &[&str] = &["match", "type"];

/// `GroupsNames` as `groups_names`; a run of capitals is one word (`IsrNodes`, `ISRNodes`).
pub fn snake_case(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    let mut snake = String::new();
    for (index, letter) in letters.iter().enumerate() {
        let follows_small = index > 0 && !letters[index - 1].is_ascii_uppercase();
        let precedes_small = letters.get(index + 1).is_some_and(char::is_ascii_lowercase);
        if letter.is_ascii_uppercase() && index > 0 && (follows_small || precedes_small) {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

/// A field's name in code.
pub fn field(name: &str) -> String {
    let snake = snake_case(name);
    if KEYWORDS.contains(&snake.as_str()) { format!("r#{snake}") } else { snake }
}

#[cfg(test)]
mod tests {
    use super::{field, snake_case};

    #[test]
    fn camel_case_becomes_snake_case() {
        for (name, expected) in [
            ("GroupsNames", "groups_names"),
            ("ISRNodes", "isr_nodes"),
            ("ThrottleTimeMs", "throttle_time_ms"),
            ("OffsetForLeaderEpochRequest", "offset_for_leader_epoch_request"),
            ("Port", "port"),
        ] {
            assert_eq!(snake_case(name), expected);
        }
        assert_eq!(field("Match"), "r#match");
    }
}
