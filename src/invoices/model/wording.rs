//! The words that the law wants on an invoice without tax (RULES 32).

use crate::customers::Exemption;

/// Why an invoice has no tax, in a language (`de`); nothing if it has.
///
/// Of a reverse charge each language has the words that its law asks for, and the English ones that every member state
/// of the EU takes (VAT Directive, article 226, 11a).
pub(super) fn exemption_note(exemption: Exemption, language: &str) -> Option<&'static str> {
    Some(match (exemption, language) {
        (Exemption::None, _) => return None,
        (Exemption::Exempt, "de") => "Steuerfreie Leistung.",
        (Exemption::Exempt, "fr") => "Opération exonérée de taxe.",
        (Exemption::Exempt, "es") => "Operación exenta de impuestos.",
        (Exemption::Exempt, "ja") => "非課税取引 (Exempt from tax).",
        (Exemption::Exempt, _) => "Exempt from tax.",
        (Exemption::ReverseCharge, "de") => "Steuerschuldnerschaft des Leistungsempfängers (Reverse charge).",
        (Exemption::ReverseCharge, "fr") => {
            "Autoliquidation : la taxe est due par le preneur (Reverse charge)."
        }
        (Exemption::ReverseCharge, "es") => {
            "Inversión del sujeto pasivo: el impuesto lo debe el destinatario (Reverse charge)."
        }
        (Exemption::ReverseCharge, "ja") => "リバースチャージ方式の対象 (Reverse charge).",
        (Exemption::ReverseCharge, _) => "Reverse charge: the tax is owed by the customer.",
    })
}
