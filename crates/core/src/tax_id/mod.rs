//! Tax numbers of who sells and who buys: which kinds there are, how each is written, and which of its characters check
//! the others. Whether a number was given to somebody, and to whom, only a country's registers know.

mod checks;
mod formats;

use serde::{Deserialize, Serialize};

use self::formats::Format;
use crate::invalid::Invalid;

/// Characters of a number of the kind [`TaxIdKind::Other`], and at most of any as it is typed.
pub const VALUE_MAX: usize = 50;

/// A tax number, and what it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaxId {
    pub kind: TaxIdKind,
    /// Letters and digits only, in capitals; spaces, dots and dashes are taken out when it is set.
    #[schema(example = "DE136695976")]
    pub value: String,
}

/// Whose register a tax number is from. It decides how the number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaxIdKind {
    /// The VAT number of a member state of the EU, or of Northern Ireland (`XI`), with the state's code.
    EuVat,
    /// The VAT number of the United Kingdom: `GB` is put before it if it is missing.
    GbVat,
    /// The Swiss UID; with `MWST`, `TVA`, `IVA` or `TPV` as who is registered for VAT writes it.
    ChVat,
    /// The Norwegian organisation number: `MVA` is put after it if it is missing.
    NoVat,
    /// The employer identification number of the United States.
    UsEin,
    /// The Canadian business number.
    CaBn,
    /// The Canadian business number with its GST/HST account.
    CaGstHst,
    /// The Australian business number.
    AuAbn,
    /// The IRD number by which New Zealand's GST goes.
    NzGst,
    /// The Indian GSTIN.
    InGst,
    /// The registration number of Japan's qualified invoices.
    JpTrn,
    /// The Brazilian CNPJ, of digits or, as of 2026, with letters.
    BrCnpj,
    /// The South Korean business registration number.
    KrBrn,
    /// Any other number, as it is to be printed: at most 50 characters, which nothing checks.
    Other,
}

impl TaxIdKind {
    /// Every kind there is.
    pub const ALL: [Self; 14] = [
        Self::EuVat,
        Self::GbVat,
        Self::ChVat,
        Self::NoVat,
        Self::UsEin,
        Self::CaBn,
        Self::CaGstHst,
        Self::AuAbn,
        Self::NzGst,
        Self::InGst,
        Self::JpTrn,
        Self::BrCnpj,
        Self::KrBrn,
        Self::Other,
    ];
}

impl TaxId {
    /// The number as it is kept: without what only parts it, in capitals, its check digits right.
    ///
    /// What is wrong with it is told with the pointer `/value` and the way it would be written.
    pub fn normalized(self) -> Result<Self, Invalid> {
        let Self { kind, value } = self;
        let refused = |detail: String| Invalid::new("/value", "malformed", detail);
        if value.chars().count() > VALUE_MAX {
            return Err(Invalid::new("/value", "too_long", format!("has at most {VALUE_MAX} characters")));
        }
        if kind == TaxIdKind::Other {
            let value = value.trim().to_owned();
            if value.is_empty() || value.chars().any(char::is_control) {
                return Err(refused("is blank, or holds line breaks or control characters".to_owned()));
            }
            return Ok(Self { kind, value });
        }
        let value = canonical(kind, &value);
        let Some(format) = formats::of(kind, &value) else {
            let codes: Vec<_> = formats::EU.iter().map(|state| state.prefix).collect();
            return Err(refused(format!(
                "does not begin with the code of a member state of the EU: {}",
                codes.join(", ")
            )));
        };
        check(format, &value).map_err(refused)?;
        Ok(Self { kind, value })
    }
}

fn check(format: &Format, value: &str) -> Result<(), String> {
    let written = |why: &str| format!("is not {}: {why}it is written {}", format.name, format.told());
    if !format.fits(value) {
        return Err(written(""));
    }
    if value.bytes().filter(u8::is_ascii_digit).all(|digit| digit == b'0') {
        return Err(written("its digits are all zero; "));
    }
    if !format.holds(value) {
        return Err(written("its check digits do not fit, so it was mistyped; "));
    }
    Ok(())
}

/// Without what people part numbers by, and with what belongs to it and is often left out.
fn canonical(kind: TaxIdKind, value: &str) -> String {
    let parts = |letter: char| {
        letter.is_whitespace()
            || matches!(letter, '.' | ',' | ':' | '-' | '\u{2010}'..='\u{2015}' | '/' | '(' | ')')
    };
    let bare: String = value.chars().filter(|letter| !parts(*letter)).collect();
    let bare = bare.to_ascii_uppercase();
    match kind {
        TaxIdKind::EuVat => european(bare),
        TaxIdKind::GbVat if !bare.starts_with("GB") => format!("GB{bare}"),
        TaxIdKind::NoVat => {
            let number = bare.strip_prefix("NO").unwrap_or(&bare);
            format!("{}MVA", number.strip_suffix("MVA").unwrap_or(number))
        }
        _ => bare,
    }
}

/// Greece is GR everywhere but in its VAT numbers; Greek, Dutch and Belgian ones are often written without leading zeros.
fn european(bare: String) -> String {
    let Some((state, number)) = bare.split_at_checked(2) else { return bare };
    match state {
        "GR" | "EL" => format!("EL{number:0>9}"),
        "NL" => format!("NL{number:0>12}"),
        "BE" => format!("BE{number:0>10}"),
        _ => bare,
    }
}

#[cfg(test)]
mod tests;
