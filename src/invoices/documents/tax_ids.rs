//! What tax numbers are called on paper.

use accrue_core::tax_id::{TaxId, TaxIdKind};
use accrue_documents::Locale;

/// With its name: `USt-IdNr. DE136695976`.
pub(super) fn named(id: &TaxId, locale: Locale) -> String {
    format!("{} {}", name(id.kind, locale), id.value)
}

fn name(kind: TaxIdKind, locale: Locale) -> &'static str {
    match (kind, locale) {
        (TaxIdKind::ChVat, Locale::De) => "MWST-Nr.",
        (TaxIdKind::EuVat | TaxIdKind::GbVat | TaxIdKind::ChVat | TaxIdKind::NoVat, locale) => match locale {
            Locale::En => "VAT ID",
            Locale::De => "USt-IdNr.",
            Locale::Fr => "N° TVA",
            Locale::Es => "NIF-IVA",
            Locale::Ja => "VAT番号",
        },
        (TaxIdKind::JpTrn, locale) => match locale {
            Locale::En => "Registration number",
            Locale::De => "Registrierungsnummer",
            Locale::Fr => "Numéro d’enregistrement",
            Locale::Es => "Número de registro",
            Locale::Ja => "登録番号",
        },
        (TaxIdKind::Other, locale) => match locale {
            Locale::En => "Tax number",
            Locale::De => "Steuernummer",
            Locale::Fr => "Numéro fiscal",
            Locale::Es => "Número fiscal",
            Locale::Ja => "税番号",
        },
        // The registers' own abbreviations, which nobody translates.
        (TaxIdKind::UsEin, _) => "EIN",
        (TaxIdKind::CaBn, _) => "BN",
        (TaxIdKind::CaGstHst, _) => "GST/HST",
        (TaxIdKind::AuAbn, _) => "ABN",
        (TaxIdKind::NzGst, _) => "GST",
        (TaxIdKind::InGst, _) => "GSTIN",
        (TaxIdKind::BrCnpj, _) => "CNPJ",
        (TaxIdKind::KrBrn, _) => "BRN",
    }
}
