//! How tax numbers are written, kind by kind.

use super::{TaxIdKind, checks};

/// How one register writes its numbers.
pub(super) struct Format {
    /// With its article, for who got it wrong.
    pub name: &'static str,
    /// What all of its numbers begin with, and is no part of what is checked.
    pub prefix: &'static str,
    /// What follows the prefix: `d` is a digit, `l` a letter, `x` either; everything else stands for itself.
    patterns: &'static [&'static str],
    /// Whether the check digits of a number of one of these patterns are right.
    holds: fn(&[u8]) -> bool,
    pub example: &'static str,
}

impl Format {
    pub fn fits(&self, value: &str) -> bool {
        let rest = value.strip_prefix(self.prefix);
        rest.is_some_and(|rest| self.patterns.iter().any(|pattern| fits(pattern, rest)))
    }

    /// Whether its check digits are right. Only to be asked of what fits.
    pub fn holds(&self, value: &str) -> bool {
        (self.holds)(&value.as_bytes()[self.prefix.len()..])
    }

    /// `DE999999999 (9 is a digit), for example DE136695976`.
    pub fn told(&self) -> String {
        let patterns: Vec<_> = self.patterns.iter().map(|pattern| self.shown(pattern)).collect();
        let meanings = [('d', "9 is a digit"), ('l', "A is a letter"), ('x', "X is a digit or a letter")];
        let is_used = |letter: char| self.patterns.iter().any(|pattern| pattern.contains(letter));
        let meanings: Vec<_> =
            meanings.iter().filter(|(letter, _)| is_used(*letter)).map(|(_, meaning)| *meaning).collect();
        format!("{} ({}), for example {}", patterns.join(" or "), meanings.join(", "), self.example)
    }

    fn shown(&self, pattern: &str) -> String {
        let letters = pattern.chars().map(|letter| match letter {
            'd' => '9',
            'l' => 'A',
            'x' => 'X',
            other => other,
        });
        self.prefix.chars().chain(letters).collect()
    }
}

fn fits(pattern: &str, text: &str) -> bool {
    let fits_one = |(wanted, found): (u8, u8)| match wanted {
        b'd' => found.is_ascii_digit(),
        b'l' => found.is_ascii_uppercase(),
        b'x' => found.is_ascii_digit() || found.is_ascii_uppercase(),
        other => found == other,
    };
    pattern.len() == text.len() && pattern.bytes().zip(text.bytes()).all(fits_one)
}

/// The format of a number of a kind; none if it is an EU number of no member state.
pub(super) fn of(kind: TaxIdKind, value: &str) -> Option<&'static Format> {
    Some(match kind {
        TaxIdKind::EuVat => return EU.iter().find(|state| value.starts_with(state.prefix)),
        TaxIdKind::GbVat => &GB_VAT,
        TaxIdKind::ChVat => &CH_VAT,
        TaxIdKind::NoVat => &NO_VAT,
        TaxIdKind::UsEin => &US_EIN,
        TaxIdKind::CaBn => &CA_BN,
        TaxIdKind::CaGstHst => &CA_GST_HST,
        TaxIdKind::AuAbn => &AU_ABN,
        TaxIdKind::NzGst => &NZ_GST,
        TaxIdKind::InGst => &IN_GST,
        TaxIdKind::JpTrn => &JP_TRN,
        TaxIdKind::BrCnpj => &BR_CNPJ,
        TaxIdKind::KrBrn => &KR_BRN,
        TaxIdKind::Other => return None,
    })
}

/// For registers that have no check digits, or do not publish the rule.
const ANY: fn(&[u8]) -> bool = |_| true;

const BRITISH: &[&str] = &["ddddddddd", "dddddddddddd", "GDddd", "HAddd"];

const GB_VAT: Format = Format {
    name: "a VAT number of the United Kingdom",
    prefix: "GB",
    patterns: BRITISH,
    holds: checks::british,
    example: "GB980780684",
};

const CH_VAT: Format = Format {
    name: "a Swiss UID",
    prefix: "CHE",
    patterns: &["ddddddddd", "dddddddddMWST", "dddddddddTVA", "dddddddddIVA", "dddddddddTPV"],
    holds: checks::swiss,
    example: "CHE107787577MWST",
};

const NO_VAT: Format = Format {
    name: "a Norwegian VAT number",
    prefix: "",
    patterns: &["dddddddddMVA"],
    holds: checks::norwegian,
    example: "995525828MVA",
};

const US_EIN: Format = Format {
    name: "an employer identification number",
    prefix: "",
    patterns: &["ddddddddd"],
    holds: ANY,
    example: "911144442",
};

const CA_BN: Format = Format {
    name: "a Canadian business number",
    prefix: "",
    patterns: &["ddddddddd"],
    holds: checks::luhn,
    example: "123026635",
};

const CA_GST_HST: Format = Format {
    name: "a Canadian GST/HST account",
    prefix: "",
    patterns: &["dddddddddRTdddd"],
    holds: |number| checks::luhn(&number[..9]),
    example: "123026635RT0001",
};

const AU_ABN: Format = Format {
    name: "an Australian business number",
    prefix: "",
    patterns: &["ddddddddddd"],
    holds: checks::australian,
    example: "83914571673",
};

const NZ_GST: Format = Format {
    name: "a GST number of New Zealand",
    prefix: "",
    patterns: &["dddddddd", "ddddddddd"],
    holds: checks::new_zealand,
    example: "49098576",
};

const IN_GST: Format = Format {
    name: "a GSTIN",
    prefix: "",
    // Whoever has a PAN; then who sells online from abroad, non-residents, two kinds of UN bodies, and who deducts.
    patterns: &[
        "ddlllllddddlxxx",
        "99ddllldddddOSx",
        "ddddllldddddNRx",
        "ddddllldddddUNx",
        "ddddllldddddONx",
        "ddlllldddddlxlx",
    ],
    holds: checks::indian,
    example: "27AAPFU0939F1ZV",
};

const JP_TRN: Format = Format {
    name: "a registration number of qualified invoices",
    prefix: "T",
    patterns: &["ddddddddddddd"],
    holds: ANY,
    example: "T1234567890123",
};

const BR_CNPJ: Format = Format {
    name: "a CNPJ",
    prefix: "",
    patterns: &["xxxxxxxxxxxxdd"],
    holds: checks::brazilian,
    example: "16727230000197",
};

const KR_BRN: Format = Format {
    name: "a South Korean business registration number",
    prefix: "",
    patterns: &["dddddddddd"],
    holds: checks::south_korean,
    example: "2208162517",
};

const fn state(
    name: &'static str,
    prefix: &'static str,
    patterns: &'static [&'static str],
    holds: fn(&[u8]) -> bool,
    example: &'static str,
) -> Format {
    Format { name, prefix, patterns, holds, example }
}

/// The VAT numbers of the EU's member states, and of Northern Ireland, whose goods are in the EU's market.
pub(super) const EU: &[Format] = &[
    state("a VAT number of Austria", "AT", &["Udddddddd"], checks::austrian, "ATU13585627"),
    state("a VAT number of Belgium", "BE", &["0ddddddddd", "1ddddddddd"], checks::belgian, "BE0428759497"),
    state("a VAT number of Bulgaria", "BG", &["ddddddddd", "dddddddddd"], checks::bulgarian, "BG175074752"),
    state("a VAT number of Cyprus", "CY", &["ddddddddl"], checks::cypriot, "CY10259033P"),
    state(
        "a VAT number of Czechia",
        "CZ",
        &["dddddddd", "ddddddddd", "dddddddddd"],
        checks::czech,
        "CZ25123891",
    ),
    state("a VAT number of Germany", "DE", &["ddddddddd"], checks::mod_11_10, "DE136695976"),
    state("a VAT number of Denmark", "DK", &["dddddddd"], checks::danish, "DK13585628"),
    state("a VAT number of Estonia", "EE", &["ddddddddd"], checks::estonian, "EE100931558"),
    state("a VAT number of Greece", "EL", &["ddddddddd"], checks::greek, "EL094259216"),
    state("a VAT number of Spain", "ES", &["xdddddddx"], checks::spanish, "ESB58378431"),
    state("a VAT number of Finland", "FI", &["dddddddd"], checks::finnish, "FI20774740"),
    state("a VAT number of France", "FR", &["xxddddddddd"], checks::french, "FR40303265045"),
    state("a VAT number of Croatia", "HR", &["ddddddddddd"], checks::mod_11_10, "HR33392005961"),
    state("a VAT number of Hungary", "HU", &["dddddddd"], checks::hungarian, "HU12892312"),
    state(
        "a VAT number of Ireland",
        "IE",
        &["dddddddl", "dddddddll", "dldddddl", "d+dddddl", "d*dddddl"],
        checks::irish,
        "IE6433435F",
    ),
    state("a VAT number of Italy", "IT", &["ddddddddddd"], checks::luhn, "IT00743110157"),
    state(
        "a VAT number of Lithuania",
        "LT",
        &["ddddddddd", "dddddddddddd"],
        checks::lithuanian,
        "LT119511515",
    ),
    state("a VAT number of Luxembourg", "LU", &["dddddddd"], checks::luxembourgish, "LU15027442"),
    state("a VAT number of Latvia", "LV", &["ddddddddddd"], checks::latvian, "LV40003521600"),
    state("a VAT number of Malta", "MT", &["dddddddd"], checks::maltese, "MT11679112"),
    state("a VAT number of the Netherlands", "NL", &["dddddddddBdd"], checks::dutch, "NL004495445B01"),
    state("a VAT number of Poland", "PL", &["dddddddddd"], checks::polish, "PL8567346215"),
    state("a VAT number of Portugal", "PT", &["ddddddddd"], checks::portuguese, "PT501964843"),
    state(
        "a VAT number of Romania",
        "RO",
        &[
            "dd",
            "ddd",
            "dddd",
            "ddddd",
            "dddddd",
            "ddddddd",
            "dddddddd",
            "ddddddddd",
            "dddddddddd",
            "ddddddddddddd",
        ],
        checks::romanian,
        "RO18547290",
    ),
    state("a VAT number of Sweden", "SE", &["dddddddddddd"], checks::swedish, "SE123456789701"),
    state("a VAT number of Slovenia", "SI", &["dddddddd"], checks::slovenian, "SI50223054"),
    state("a VAT number of Slovakia", "SK", &["dddddddddd"], checks::slovak, "SK2022749619"),
    state("a VAT number of Northern Ireland", "XI", BRITISH, checks::british, "XI980780684"),
];
