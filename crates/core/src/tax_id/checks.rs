//! The check digits of tax numbers. Each takes a number that has the pattern of its register, without its prefix.
//!
//! Where a register has numbers of several sorts and the rule of one is not published, that sort passes.

/// The value of a digit.
fn digit(byte: u8) -> u32 {
    u32::from(byte.wrapping_sub(b'0'))
}

/// The value of a digit, or of a letter from A (10) on.
fn base_36(byte: u8) -> u32 {
    if byte.is_ascii_digit() { digit(byte) } else { u32::from(byte.wrapping_sub(b'A')) + 10 }
}

fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, byte| number * 10 + u64::from(digit(*byte)))
}

/// Σ digit × weight.
fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(byte, weight)| digit(*byte) * weight).sum()
}

/// Every second digit from the right counts twice, and the digits of that are added. Nobody has the number of zeros,
/// whatever is put after it.
pub(super) fn luhn(number: &[u8]) -> bool {
    let sum = doubled(number.iter().rev().map(|byte| digit(*byte)), 10);
    sum > 0 && sum.is_multiple_of(10)
}

/// Σ of the values, every second one twice, each as the sum of its two digits to `base`.
fn doubled(values: impl Iterator<Item = u32>, base: u32) -> u32 {
    let each = values.enumerate().map(|(at, value)| if at % 2 == 0 { value } else { value * 2 });
    each.map(|value| value / base + value % base).sum()
}

/// ISO 7064, MOD 11,10.
pub(super) fn mod_11_10(number: &[u8]) -> bool {
    let Some((check, digits)) = number.split_last() else { return false };
    let product = digits.iter().fold(10, |product, byte| {
        let sum = (digit(*byte) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (product + digit(*check)) % 10 == 1
}

/// The check digit after as many digits as there are weights is 11 − Σ mod 11; a 10 is never given, an 11 is 0.
fn mod_11(number: &[u8], weights: &[u32]) -> bool {
    (11 - weighted(number, weights) % 11) % 11 == digit(number[weights.len()])
}

pub(super) fn austrian(number: &[u8]) -> bool {
    let digits = &number[1..];
    let sum = doubled(digits[..7].iter().map(|byte| digit(*byte)), 10);
    (10 - (sum + 4) % 10) % 10 == digit(digits[7])
}

pub(super) fn belgian(digits: &[u8]) -> bool {
    97 - number(&digits[..8]) % 97 == number(&digits[8..])
}

/// Of companies; those of persons and of foreigners have ten digits.
pub(super) fn bulgarian(digits: &[u8]) -> bool {
    let check = match weighted(digits, &[1, 2, 3, 4, 5, 6, 7, 8]) % 11 {
        10 => weighted(digits, &[3, 4, 5, 6, 7, 8, 9, 10]) % 11 % 10,
        check => check,
    };
    digits.len() != 9 || check == digit(digits[8])
}

pub(super) fn cypriot(number: &[u8]) -> bool {
    const ODD: [u32; 10] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21];
    let values = number[..8].iter().enumerate().map(|(at, byte)| match digit(*byte) {
        value if at % 2 == 0 => ODD[value as usize],
        value => value,
    });
    values.sum::<u32>() % 26 == base_36(number[8]) - 10
}

/// Of companies; those of persons have nine or ten digits.
pub(super) fn czech(digits: &[u8]) -> bool {
    let check = match 11 - weighted(digits, &[8, 7, 6, 5, 4, 3, 2]) % 11 {
        10 => 0,
        11 => 1,
        check => check,
    };
    digits.len() != 8 || check == digit(digits[7])
}

pub(super) fn danish(digits: &[u8]) -> bool {
    weighted(digits, &[2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
}

pub(super) fn estonian(digits: &[u8]) -> bool {
    weighted(digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
}

pub(super) fn greek(digits: &[u8]) -> bool {
    weighted(digits, &[256, 128, 64, 32, 16, 8, 4, 2]) % 11 % 10 == digit(digits[8])
}

/// Of persons (the last letter is their number mod 23) and of companies (a digit, or the letter that stands for it).
pub(super) fn spanish(value: &[u8]) -> bool {
    const LETTERS: &[u8] = b"TRWAGMYFPDXBNJZSQVHLCKE";
    let (first, middle, last) = (value[0], &value[1..8], value[8]);
    let of_person = |leading: u64| {
        let rest = (leading * 10_000_000 + number(middle)) % 23;
        usize::try_from(rest).is_ok_and(|at| LETTERS[at] == last)
    };
    match first {
        b'0'..=b'9' => of_person(u64::from(digit(first))),
        b'X'..=b'Z' => of_person(u64::from(first - b'X')),
        b'K'..=b'M' => of_person(0),
        b'I' | b'O' | b'T' => false,
        _ => {
            let values = middle.iter().map(|byte| digit(*byte));
            // From the first digit on, every second one counts twice: so one that counts nothing goes before.
            let check = (10 - doubled(std::iter::once(0).chain(values), 10) % 10) % 10;
            digit(last) == check || b"JABCDEFGHI"[check as usize] == last
        }
    }
}

pub(super) fn finnish(digits: &[u8]) -> bool {
    weighted(digits, &[7, 9, 10, 5, 8, 4, 2, 1]).is_multiple_of(11)
}

/// A key of two characters before the SIREN. Those with letters are not published; Monaco's SIREN begins with zeros.
pub(super) fn french(value: &[u8]) -> bool {
    let (key, siren) = value.split_at(2);
    let key_holds = if key.iter().all(u8::is_ascii_digit) {
        (number(siren) % 97 * 3 + 12) % 97 == number(key)
    } else {
        !key.iter().any(|letter| matches!(letter, b'I' | b'O'))
    };
    key_holds && (siren.starts_with(b"000") || luhn(siren))
}

pub(super) fn hungarian(digits: &[u8]) -> bool {
    weighted(digits, &[9, 7, 3, 1, 9, 7, 3, 1]).is_multiple_of(10)
}

/// The letter after seven digits; a second one counts too. Old numbers have their first digit last, and no seventh.
pub(super) fn irish(value: &[u8]) -> bool {
    const LETTERS: &[u8] = b"WABCDEFGHIJKLMNOPQRSTUV";
    let is_old = !value[1].is_ascii_digit();
    let digits =
        if is_old { [b"0".as_slice(), &value[2..7], &value[..1]].concat() } else { value[..7].to_vec() };
    let second = match value.get(8) {
        None | Some(b'W') => 0,
        Some(letter) => base_36(*letter) - 9,
    };
    let check = (weighted(&digits, &[8, 7, 6, 5, 4, 3, 2]) + 9 * second) % 23;
    LETTERS[check as usize] == value[7]
}

/// By a second row of weights if the first comes to 10.
pub(super) fn lithuanian(value: &[u8]) -> bool {
    let (digits, last) = value.split_at(value.len() - 1);
    let check = match weighted(digits, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2]) % 11 {
        10 => weighted(digits, &[3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4]) % 11 % 10,
        check => check,
    };
    check == digit(last[0])
}

pub(super) fn luxembourgish(digits: &[u8]) -> bool {
    number(&digits[..6]) % 89 == number(&digits[6..])
}

/// Of companies; those of persons begin with the day of birth, or with 32.
pub(super) fn latvian(digits: &[u8]) -> bool {
    digits[0] <= b'3' || weighted(digits, &[9, 1, 4, 8, 3, 10, 2, 5, 7, 6, 1]) % 11 == 3
}

pub(super) fn maltese(digits: &[u8]) -> bool {
    weighted(digits, &[3, 4, 6, 7, 8, 9, 10, 1]).is_multiple_of(37)
}

/// The test of eleven over the nine digits, or, of sole traders since 2020, ISO 7064 MOD 97-10 over all with its `NL`.
pub(super) fn dutch(value: &[u8]) -> bool {
    let by_eleven = weighted(value, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11 == digit(value[8]);
    let by_97 = b"NL".iter().chain(value).fold(0_u64, |rest, byte| {
        let value = u64::from(base_36(*byte));
        let shift = if value > 9 { 100 } else { 10 };
        (rest * shift + value) % 97
    });
    number(&value[..9]) > 0 && (by_eleven || by_97 == 1)
}

pub(super) fn polish(digits: &[u8]) -> bool {
    weighted(digits, &[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 == digit(digits[9])
}

pub(super) fn portuguese(digits: &[u8]) -> bool {
    (11 - weighted(digits, &[9, 8, 7, 6, 5, 4, 3, 2]) % 11) % 11 % 10 == digit(digits[8])
}

/// Of companies. Of persons, who have 13 digits, nothing is checked.
pub(super) fn romanian(digits: &[u8]) -> bool {
    if digits.len() == 13 {
        return true;
    }
    let check = digits.len() - 1;
    let weights = &[7, 5, 3, 2, 1, 7, 5, 3, 2][9 - check..];
    weighted(&digits[..check], weights) * 10 % 11 % 10 == digit(digits[check])
}

/// The number of the organisation, then which of its registrations it is.
pub(super) fn swedish(digits: &[u8]) -> bool {
    luhn(&digits[..10]) && (1..=94).contains(&number(&digits[10..]))
}

pub(super) fn slovenian(digits: &[u8]) -> bool {
    let check = match 11 - weighted(digits, &[8, 7, 6, 5, 4, 3, 2]) % 11 {
        10 => 0,
        check => check,
    };
    digits[0] != b'0' && check == digit(digits[7])
}

pub(super) fn slovak(digits: &[u8]) -> bool {
    number(digits).is_multiple_of(11)
}

/// Of traders, 97 less Σ mod 97, or since 2010 55 less than that; of government departments and health authorities,
/// a range each.
pub(super) fn british(value: &[u8]) -> bool {
    match value {
        [b'G', b'D', rest @ ..] => number(rest) < 500,
        [b'H', b'A', rest @ ..] => number(rest) >= 500,
        digits => {
            let sum = weighted(digits, &[8, 7, 6, 5, 4, 3, 2, 10, 1]);
            sum > 0 && matches!(sum % 97, 0 | 42)
        }
    }
}

pub(super) fn swiss(number: &[u8]) -> bool {
    mod_11(number, &[5, 4, 3, 2, 7, 6, 5, 4])
}

pub(super) fn norwegian(number: &[u8]) -> bool {
    mod_11(number, &[3, 2, 7, 6, 5, 4, 3, 2])
}

/// The first digit counts one less.
pub(super) fn australian(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]);
    sum >= 10 && (sum - 10).is_multiple_of(89)
}

/// By a second row of weights if the first comes to 10.
pub(super) fn new_zealand(digits: &[u8]) -> bool {
    let padded = if digits.len() == 8 { [b"0".as_slice(), digits].concat() } else { digits.to_vec() };
    let check = |weights: &[u32]| (11 - weighted(&padded, weights) % 11) % 11;
    let check = match check(&[3, 2, 7, 6, 5, 4, 3, 2]) {
        10 => check(&[7, 4, 3, 2, 5, 2, 7, 6]),
        check => check,
    };
    check == digit(padded[8])
}

/// Luhn's rule with letters, to the base of 36. Only of those made of a PAN, which begins with five letters: of the others
/// it is not known to hold.
pub(super) fn indian(value: &[u8]) -> bool {
    let has_pan = value[2..7].iter().all(u8::is_ascii_uppercase);
    !has_pan || doubled(value.iter().rev().map(|byte| base_36(*byte)), 36).is_multiple_of(36)
}

/// Letters count by their place in ASCII after `0`, as digits do.
pub(super) fn brazilian(value: &[u8]) -> bool {
    const WEIGHTS: [u32; 13] = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2];
    let check = |length: usize| match weighted(&value[..length], &WEIGHTS[13 - length..]) % 11 {
        0 | 1 => 0,
        rest => 11 - rest,
    };
    [12, 13].into_iter().all(|length| check(length) == digit(value[length]))
}

pub(super) fn south_korean(digits: &[u8]) -> bool {
    let sum = weighted(digits, &[1, 3, 7, 1, 3, 7, 1, 3, 5]) + digit(digits[8]) * 5 / 10;
    (10 - sum % 10) % 10 == digit(digits[9])
}
