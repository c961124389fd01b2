//! Secrets at rest: sealed with the installation's key, bound to their tenant.

use accrue_core::id::TenantId;
use base64::{Engine, engine::general_purpose::STANDARD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};

/// Seals and opens secrets. A sealed secret of one tenant cannot be opened as another's.
#[derive(Clone)]
pub struct Vault(XChaCha20Poly1305);

/// Why a secret cannot be opened, or a key not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("the secret key must be 32 bytes, as 64 hexadecimal digits or base64")]
    Key,
    #[error("the secret was sealed with another key, for another tenant, or is damaged")]
    Sealed,
}

impl Vault {
    /// `key` is 32 bytes in hexadecimal digits or base64.
    pub fn try_new(key: &str) -> Result<Self, SecretError> {
        let key = key.trim();
        let bytes = from_hex(key).or_else(|| STANDARD.decode(key).ok()).ok_or(SecretError::Key)?;
        XChaCha20Poly1305::new_from_slice(&bytes).map(Self).map_err(|_| SecretError::Key)
    }

    /// A new random key, in hexadecimal digits.
    pub fn generate_key() -> String {
        let (high, low) = (random_bytes::<16>(), random_bytes::<16>());
        format!("{:032x}{:032x}", u128::from_be_bytes(high), u128::from_be_bytes(low))
    }

    pub fn seal(&self, tenant: TenantId, secret: &str) -> String {
        let nonce = random_bytes::<24>();
        let payload = Payload { msg: secret.as_bytes(), aad: tenant.0.as_bytes() };
        let sealed = self.0.encrypt(&XNonce::from(nonce), payload).expect("secrets are short");
        STANDARD.encode([nonce.as_slice(), &sealed].concat())
    }

    pub fn open(&self, tenant: TenantId, sealed: &str) -> Result<String, SecretError> {
        let bytes = STANDARD.decode(sealed).map_err(|_| SecretError::Sealed)?;
        let (nonce, sealed) = bytes.split_first_chunk::<24>().ok_or(SecretError::Sealed)?;
        let payload = Payload { msg: sealed, aad: tenant.0.as_bytes() };
        let secret = self.0.decrypt(&XNonce::from(*nonce), payload).map_err(|_| SecretError::Sealed)?;
        String::from_utf8(secret).map_err(|_| SecretError::Sealed)
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

/// Bytes nobody can guess.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| (0..32).filter_map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_only_for_its_tenant_and_its_key() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let (tenant, other) = (TenantId::new(now), TenantId::new(now));
        let vault = Vault::try_new(&Vault::generate_key()).unwrap();
        let sealed = vault.seal(tenant, "whsec_1");
        assert_eq!(vault.open(tenant, &sealed), Ok("whsec_1".to_owned()));
        assert_eq!(vault.open(other, &sealed), Err(SecretError::Sealed));
        let strange = Vault::try_new(&Vault::generate_key()).unwrap();
        assert_eq!(strange.open(tenant, &sealed), Err(SecretError::Sealed));
        assert_ne!(vault.seal(tenant, "whsec_1"), sealed);
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        for key in ["", "abc", &"a".repeat(63), "c2hvcnQ="] {
            assert!(Vault::try_new(key).is_err(), "{key}");
        }
    }
}
