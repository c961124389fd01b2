//! Signs what we send and verifies what we receive, by Standard Webhooks 1.0 with symmetric keys (`v1`).
//! It sends nothing ([`crate::egress`] does) and does not know where secrets are stored.

use std::{fmt, str::FromStr};

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretSlice, SecretString, zeroize::Zeroizing};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

/// The header with the message's identifier: the same at every attempt, so that receivers can deduplicate.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the time of the attempt, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with one signature for each secret that is valid, separated by spaces.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

const SECRET_PREFIX: &str = "whsec_";
const SECRET_BYTES_MIN: usize = 24;
const SECRET_BYTES_MAX: usize = 64;
/// What 64 bytes need while they are decoded: base64 comes in groups of three bytes.
const DECODED_BYTES_MAX: usize = SECRET_BYTES_MAX.next_multiple_of(3);
const GENERATED_BYTES: usize = 32;

/// Writes padding and, because senders disagree on it, reads with and without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A signing key, `whsec_…` on the wire. `Debug` hides it, and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(SecretSlice<u8>);

/// Why a text is not a signing secret. It never repeats the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    #[error("a signing secret starts with `whsec_`")]
    Prefix,
    #[error("after `whsec_`, a signing secret is base64")]
    Encoding,
    #[error("a signing secret has 24 to 64 bytes, which is 32 to 88 characters of base64 after `whsec_`")]
    Length,
}

impl Secret {
    /// A new secret from the operating system's randomness.
    pub fn generate() -> Self {
        let mut key = Zeroizing::new([0; GENERATED_BYTES]);
        getrandom::fill(&mut *key).expect("every supported system has a source of randomness");
        Self(SecretSlice::from(key.to_vec()))
    }

    /// The secret as it is shown to its owner once, and as it is stored after encryption.
    pub fn reveal(&self) -> SecretString {
        let encoded = Zeroizing::new(BASE64.encode(self.0.expose_secret()));
        SecretString::from([SECRET_PREFIX, encoded.as_str()].concat())
    }

    fn mac(&self, message_id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret()).expect("any length is a key");
        mac.update(message_id.as_bytes());
        mac.update(b".");
        mac.update(timestamp.as_bytes());
        mac.update(b".");
        mac.update(body);
        mac
    }
}

impl FromStr for Secret {
    type Err = InvalidSecret;

    fn from_str(text: &str) -> Result<Self, InvalidSecret> {
        let encoded = text.strip_prefix(SECRET_PREFIX).ok_or(InvalidSecret::Prefix)?;
        if encoded.len() > DECODED_BYTES_MAX / 3 * 4 {
            return Err(InvalidSecret::Length);
        }

        let mut key = Zeroizing::new([0; DECODED_BYTES_MAX]);
        let length = BASE64.decode_slice(encoded, &mut *key).map_err(|_| InvalidSecret::Encoding)?;
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&length) {
            return Err(InvalidSecret::Length);
        }
        Ok(Self(SecretSlice::from(key[..length].to_vec())))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(whsec_***)")
    }
}

/// The value of [`SIGNATURE_HEADER`] for a message that is sent at `at`.
///
/// While a secret is being rotated there are several: the receiver accepts any of the signatures.
/// Sign anew at every attempt: receivers refuse old timestamps.
pub fn sign(secrets: &[Secret], message_id: &str, at: DateTime<Utc>, body: &[u8]) -> String {
    let timestamp = at.timestamp().to_string();
    let signatures: Vec<_> = secrets
        .iter()
        .map(|secret| secret.mac(message_id, &timestamp, body).finalize().into_bytes())
        .map(|signature| format!("v1,{}", BASE64.encode(signature)))
        .collect();
    signatures.join(" ")
}

/// The three headers as they arrived; `None` where one is absent or is not text.
#[derive(Clone, Copy, Debug)]
pub struct SignatureHeaders<'a> {
    pub id: Option<&'a str>,
    pub timestamp: Option<&'a str>,
    pub signature: Option<&'a str>,
}

/// Why a message is not believed. The header's name is given where one is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the header `{0}` is missing")]
    Missing(&'static str),
    #[error("the header `{0}` is malformed")]
    Malformed(&'static str),
    #[error("the message is too old")]
    TooOld,
    #[error("the message comes from the future")]
    TooNew,
    #[error("no signature is ours")]
    Mismatch,
}

/// Checks that the message was signed with one of `secrets`, at most `tolerance` before or after `now`.
///
/// Every signature is compared with every secret in constant time, whether or not one matched before.
/// Signatures of versions other than `v1` are skipped, as the standard asks.
pub fn verify(
    secrets: &[Secret],
    headers: &SignatureHeaders<'_>,
    body: &[u8],
    now: DateTime<Utc>,
    tolerance: TimeDelta,
) -> Result<(), SignatureError> {
    use SignatureError::*;

    let id = headers.id.filter(|id| !id.is_empty()).ok_or(Missing(ID_HEADER))?;
    let timestamp = headers.timestamp.ok_or(Missing(TIMESTAMP_HEADER))?;
    let signature = headers.signature.ok_or(Missing(SIGNATURE_HEADER))?;

    // A full stop separates what is signed: inside the identifier it could pass for the one after it.
    if id.contains('.') {
        return Err(Malformed(ID_HEADER));
    }
    let sent_at = parse_timestamp(timestamp).ok_or(Malformed(TIMESTAMP_HEADER))?;
    let age = now.signed_duration_since(sent_at);
    if age > tolerance {
        return Err(TooOld);
    }
    if age < -tolerance {
        return Err(TooNew);
    }

    let candidates: Vec<_> = signature
        .split(' ')
        .filter_map(|entry| entry.strip_prefix("v1,"))
        .filter_map(|encoded| BASE64.decode(encoded).ok())
        .collect();
    if candidates.is_empty() {
        return Err(Malformed(SIGNATURE_HEADER));
    }

    let mut matches = Choice::from(0);
    for secret in secrets {
        let expected = secret.mac(id, timestamp, body).finalize().into_bytes();
        for candidate in &candidates {
            matches |= expected.as_slice().ct_eq(candidate);
        }
    }
    if bool::from(matches) { Ok(()) } else { Err(Mismatch) }
}

/// Digits only: what is signed is the header's text, so one instant must have one spelling.
fn parse_timestamp(text: &str) -> Option<DateTime<Utc>> {
    let seconds = text.parse::<i64>().ok().filter(|seconds| seconds.to_string() == text)?;
    DateTime::from_timestamp(seconds, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const FIVE_MINUTES: TimeDelta = TimeDelta::minutes(5);

    fn key() -> Secret {
        KEY.parse().unwrap()
    }

    fn sent_at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_614_265_330, 0).unwrap()
    }

    const fn headers(signature: &str) -> SignatureHeaders<'_> {
        SignatureHeaders { id: Some(ID), timestamp: Some("1614265330"), signature: Some(signature) }
    }

    fn check(headers: &SignatureHeaders<'_>, body: &[u8]) -> Result<(), SignatureError> {
        verify(&[key()], headers, body, sent_at(), FIVE_MINUTES)
    }

    #[test]
    fn the_published_example_is_reproduced() {
        assert_eq!(sign(&[key()], ID, sent_at(), BODY), SIGNATURE);
        assert_eq!(check(&headers(SIGNATURE), BODY), Ok(()));
    }

    #[test]
    fn while_a_secret_is_rotated_both_the_old_and_the_new_one_verify() {
        let (old, new, other) = (key(), Secret::generate(), Secret::generate());
        let signature = sign(&[new.clone(), old.clone()], ID, sent_at(), BODY);
        assert_eq!(signature.split(' ').count(), 2);
        assert!(signature.ends_with(SIGNATURE));

        let verify_with =
            |secrets: &[Secret]| verify(secrets, &headers(&signature), BODY, sent_at(), FIVE_MINUTES);
        assert_eq!(verify_with(&[old]), Ok(()));
        assert_eq!(verify_with(&[other.clone(), new]), Ok(()));
        assert_eq!(verify_with(&[other]), Err(SignatureError::Mismatch));
        assert_eq!(verify_with(&[]), Err(SignatureError::Mismatch));
    }

    #[test]
    fn signatures_of_other_versions_are_skipped() {
        assert_eq!(check(&headers(&format!("v1a,AAAA junk  {SIGNATURE}")), BODY), Ok(()));
        assert_eq!(check(&headers(SIGNATURE.trim_end_matches('=')), BODY), Ok(()));
    }

    #[test]
    fn whatever_is_changed_the_signature_does_not_match() {
        let good = headers(SIGNATURE);
        let mismatch = Err(SignatureError::Mismatch);
        assert_eq!(check(&good, br#"{"test": 2432232315}"#), mismatch);
        assert_eq!(check(&good, b""), mismatch);
        assert_eq!(check(&SignatureHeaders { id: Some("msg_other"), ..good }, BODY), mismatch);
        assert_eq!(check(&SignatureHeaders { timestamp: Some("1614265331"), ..good }, BODY), mismatch);
        assert_eq!(check(&headers("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OA="), BODY), mismatch);
        assert_eq!(check(&headers("v1,g0hM9SsE"), BODY), mismatch, "a prefix is no match");
        assert_eq!(check(&headers("v1,"), BODY), mismatch, "nothing is no match");
    }

    #[test]
    fn a_missing_or_malformed_header_is_named() {
        use SignatureError::{Malformed, Missing};

        let good = headers(SIGNATURE);
        let cases = [
            (SignatureHeaders { id: None, ..good }, Missing(ID_HEADER)),
            (SignatureHeaders { id: Some(""), ..good }, Missing(ID_HEADER)),
            (SignatureHeaders { timestamp: None, ..good }, Missing(TIMESTAMP_HEADER)),
            (SignatureHeaders { signature: None, ..good }, Missing(SIGNATURE_HEADER)),
            (SignatureHeaders { id: Some("msg.1"), ..good }, Malformed(ID_HEADER)),
            (SignatureHeaders { timestamp: Some(""), ..good }, Malformed(TIMESTAMP_HEADER)),
            (SignatureHeaders { timestamp: Some("+1614265330"), ..good }, Malformed(TIMESTAMP_HEADER)),
            (SignatureHeaders { timestamp: Some("1614265330.0"), ..good }, Malformed(TIMESTAMP_HEADER)),
            (
                SignatureHeaders { timestamp: Some("9223372036854775807"), ..good },
                Malformed(TIMESTAMP_HEADER),
            ),
            (
                SignatureHeaders { timestamp: Some("92233720368547758070"), ..good },
                Malformed(TIMESTAMP_HEADER),
            ),
            (SignatureHeaders { signature: Some(""), ..good }, Malformed(SIGNATURE_HEADER)),
            (SignatureHeaders { signature: Some("v1,not base64"), ..good }, Malformed(SIGNATURE_HEADER)),
            (SignatureHeaders { signature: Some("v2,AAAA"), ..good }, Malformed(SIGNATURE_HEADER)),
        ];
        for (headers, error) in cases {
            assert_eq!(check(&headers, BODY), Err(error), "{headers:?}");
        }
    }

    #[test]
    fn a_message_is_believed_for_exactly_the_tolerance_before_and_after() {
        let at = |now| verify(&[key()], &headers(SIGNATURE), BODY, now, FIVE_MINUTES);
        let instant = TimeDelta::microseconds(1);
        assert_eq!(at(sent_at() + FIVE_MINUTES), Ok(()));
        assert_eq!(at(sent_at() - FIVE_MINUTES), Ok(()));
        assert_eq!(at(sent_at() + FIVE_MINUTES + instant), Err(SignatureError::TooOld));
        assert_eq!(at(sent_at() - FIVE_MINUTES - instant), Err(SignatureError::TooNew));
        assert_eq!(at(DateTime::<Utc>::MAX_UTC), Err(SignatureError::TooOld));
        assert_eq!(at(DateTime::<Utc>::MIN_UTC), Err(SignatureError::TooNew));
    }

    #[test]
    fn a_secret_survives_the_wire_with_and_without_padding() {
        for length in SECRET_BYTES_MIN..=SECRET_BYTES_MAX {
            let text = format!("whsec_{}", BASE64.encode(vec![0xA5; length]));
            let padded: Secret = text.parse().unwrap();
            let unpadded: Secret = text.trim_end_matches('=').parse().unwrap();
            assert_eq!(padded.reveal().expose_secret(), text);
            assert_eq!(unpadded.reveal().expose_secret(), text);
        }
        assert_eq!(key().reveal().expose_secret(), KEY);
    }

    #[test]
    fn a_secret_of_the_wrong_form_is_refused() {
        let of = |length| format!("whsec_{}", BASE64.encode(vec![7; length]));
        let cases = [
            (KEY.trim_start_matches("whsec_").to_owned(), InvalidSecret::Prefix),
            (KEY.to_uppercase(), InvalidSecret::Prefix),
            (String::new(), InvalidSecret::Prefix),
            ("whsec_".to_owned(), InvalidSecret::Length),
            (of(23), InvalidSecret::Length),
            (of(65), InvalidSecret::Length),
            (of(1_000_000), InvalidSecret::Length),
            (format!("{KEY} "), InvalidSecret::Encoding),
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS-".to_owned(), InvalidSecret::Encoding),
        ];
        for (text, error) in cases {
            assert_eq!(text.parse::<Secret>().unwrap_err(), error, "{} characters", text.len());
        }
    }

    #[test]
    fn a_generated_secret_is_32_fresh_bytes() {
        let (one, two) = (Secret::generate(), Secret::generate());
        assert_eq!(one.0.expose_secret().len(), 32);
        assert_ne!(one.0.expose_secret(), two.0.expose_secret());
    }

    #[test]
    fn a_secret_does_not_show_in_logs() {
        assert_eq!(format!("{:?}", Some(key())), "Some(Secret(whsec_***))");
    }
}
