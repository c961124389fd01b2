//! The guard against card numbers: none is ever stored.

/// Is this a card number that somebody took for a token? 13 to 19 digits whose check digit is right,
/// however they are grouped.
pub(in crate::payments) fn looks_like_a_card_number(text: &str) -> bool {
    let mut digits = Vec::new();
    for character in text.trim().chars() {
        match character.to_digit(10) {
            Some(digit) => digits.push(digit),
            None if matches!(character, ' ' | '-' | '.') => {}
            None => return false,
        }
    }
    (13..=19).contains(&digits.len()) && luhn_sum(&digits).is_multiple_of(10)
}

fn luhn_sum(digits: &[u32]) -> u32 {
    let doubled = |digit: u32| if digit > 4 { 2 * digit - 9 } else { 2 * digit };
    let weighted = digits.iter().rev().enumerate();
    weighted.map(|(at, digit)| if at % 2 == 1 { doubled(*digit) } else { *digit }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_number_is_seen_however_it_is_grouped() {
        for text in ["4242424242424242", "4242 4242 4242 4242", "3782-822463-10005", " 4222222222222 "] {
            assert!(looks_like_a_card_number(text), "{text}");
        }
    }

    #[test]
    fn a_token_or_a_number_with_a_wrong_check_digit_is_no_card_number() {
        for text in ["tok_visa", "4242424242424241", "424242424242", "pm_4242424242424242", ""] {
            assert!(!looks_like_a_card_number(text), "{text}");
        }
    }
}
