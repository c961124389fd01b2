use proptest::prelude::*;

use super::*;

fn read(kind: TaxIdKind, value: &str) -> Result<String, String> {
    let read = TaxId { kind, value: value.to_owned() }.normalized();
    read.map(|id| id.value)
        .map_err(|mistake| format!("{} {}: {}", mistake.pointer, mistake.code, mistake.detail))
}

/// Numbers that are printed by those who have them, or by their registers as examples.
const GOOD: &[(TaxIdKind, &[&str])] = &[
    (
        TaxIdKind::EuVat,
        &[
            "ATU13585627",
            "ATU10223006",
            "BE0428759497",
            "BE0403019261",
            "BE0417497106",
            "BE0440966354",
            "BE0831797467",
            "BG175074752",
            "BG831642181",
            "BG7523169263",
            "CY10259033P",
            "CY10008489A",
            "CZ25123891",
            "CZ46505334",
            "CZ27082440",
            "CZ682127228",
            "CZ640903926",
            "CZ7103192745",
            "DE136695976",
            "DE811907980",
            "DE129273398",
            "DK13585628",
            "DK88146328",
            "EE100931558",
            "EE100207415",
            "EL094259216",
            "EL040127797",
            "ESB58378431",
            "ESA28015865",
            "ESJ99216582",
            "ES54362315K",
            "ESX2482300W",
            "ESX5910266W",
            "ESM1234567L",
            "FI20774740",
            "FI01120389",
            "FR40303265045",
            "FR83404833048",
            "FR45497709824",
            "FR53000004605",
            "FRK7399859412",
            "HR33392005961",
            "HR38192148118",
            "HU12892312",
            "HU10597190",
            "IE6433435F",
            "IE6433435OA",
            "IE6388047V",
            "IE1234567FA",
            "IE3706224MH",
            "IE8D79739I",
            "IT00743110157",
            "IT07643520567",
            "LT119511515",
            "LT100001919017",
            "LT100004801610",
            "LU15027442",
            "LU26375245",
            "LV40003521600",
            "LV16117519997",
            "MT11679112",
            "MT20200019",
            "NL004495445B01",
            "NL002455799B11",
            "NL123456789B13",
            "NL000099998B57",
            "NL001439542B97",
            "NL002342672B42",
            "NL007303907B01",
            "PL8567346215",
            "PL5260001246",
            "PT501964843",
            "PT502011378",
            "RO18547290",
            "RO361757",
            "RO14399840",
            "RO1630615123457",
            "SE123456789701",
            "SE556074755101",
            "SE502069316301",
            "SI50223054",
            "SI80040306",
            "SI26833921",
            "SK2022749619",
            "SK2020273893",
            "XI980780684",
        ],
    ),
    (
        TaxIdKind::GbVat,
        &["GB980780684", "GB340804329", "GB333289454", "GB346270013", "GB980780684001", "GBGD001", "GBHA599"],
    ),
    (TaxIdKind::ChVat, &["CHE107787577", "CHE107787577MWST", "CHE100155212TVA", "CHE107787577IVA"]),
    (TaxIdKind::NoVat, &["995525828MVA", "923609016MVA"]),
    (TaxIdKind::UsEin, &["911144442", "010123456"]),
    (TaxIdKind::CaBn, &["123026635"]),
    (TaxIdKind::CaGstHst, &["123026635RT0001"]),
    (TaxIdKind::AuAbn, &["83914571673", "53004085616", "51824753556"]),
    (TaxIdKind::NzGst, &["49098576", "49091850", "136410132", "35901981"]),
    (
        TaxIdKind::InGst,
        &[
            "27AAPFU0939F1ZV",
            "29AAGCB7383J1Z4",
            "24AAACC1206D1ZM",
            "27AAPFU0939F11S",
            "27AAPFU0939F1C6",
            "9917SGP29001OST",
            "0717USA12345NRF",
            "0717USA00009UNK",
            "0717USA00009ONK",
            "27MUMD12345A1Z5",
        ],
    ),
    (TaxIdKind::JpTrn, &["T1234567890123"]),
    (TaxIdKind::BrCnpj, &["16727230000197", "00000000000191", "12ABC34501DE35"]),
    (TaxIdKind::KrBrn, &["2208162517", "1248100998"]),
    (TaxIdKind::Other, &["27/123/45678", "X"]),
];

#[test]
fn numbers_that_are_right_stay_as_they_are() {
    assert_eq!(GOOD.len(), TaxIdKind::ALL.len());
    for (kind, numbers) in GOOD {
        for number in *numbers {
            assert_eq!(read(*kind, number).as_deref(), Ok(*number), "{kind:?}");
        }
    }
}

#[test]
fn every_member_state_is_there_with_an_example_that_is_right() {
    for state in formats::EU {
        assert_eq!(read(TaxIdKind::EuVat, state.example).as_deref(), Ok(state.example));
        let known = GOOD[0].1.iter().filter(|number| number.starts_with(state.prefix)).count();
        assert!(known > 0, "{}", state.name);
    }
    assert_eq!(formats::EU.len(), 27 + 1, "and Northern Ireland");
}

#[test]
fn what_parts_a_number_is_taken_out_and_what_is_often_left_out_is_put_in() {
    let cases = [
        (TaxIdKind::EuVat, " de 136.695-976\u{a0}", "DE136695976"),
        (TaxIdKind::EuVat, "atu 13585627", "ATU13585627"),
        (TaxIdKind::EuVat, "GR 094259216", "EL094259216"),
        (TaxIdKind::EuVat, "BE 0428.759.497", "BE0428759497"),
        (TaxIdKind::EuVat, "BE 428 759 497", "BE0428759497"),
        (TaxIdKind::EuVat, "EL 94259216", "EL094259216"),
        (TaxIdKind::EuVat, "NL 4495445.B01", "NL004495445B01"),
        (TaxIdKind::EuVat, "DE: (136) 695 976", "DE136695976"),
        (TaxIdKind::EuVat, "DE\u{2010}136\u{2011}695\u{2012}976", "DE136695976"),
        (TaxIdKind::EuVat, "DE\u{2013}136\u{2014}695\u{2015}976", "DE136695976"),
        (TaxIdKind::GbVat, "980 7806 84", "GB980780684"),
        (TaxIdKind::ChVat, "CHE-107.787.577 MWST", "CHE107787577MWST"),
        (TaxIdKind::NoVat, "NO 995 525 828 mva", "995525828MVA"),
        (TaxIdKind::NoVat, "995525828", "995525828MVA"),
        (TaxIdKind::UsEin, "91-1144442", "911144442"),
        (TaxIdKind::CaGstHst, "12302 6635 RT 0001", "123026635RT0001"),
        (TaxIdKind::AuAbn, "83 914 571 673", "83914571673"),
        (TaxIdKind::InGst, "27aapfu0939f1zv", "27AAPFU0939F1ZV"),
        (TaxIdKind::BrCnpj, "16.727.230/0001-97", "16727230000197"),
        (TaxIdKind::KrBrn, "220-81-62517", "2208162517"),
        (TaxIdKind::Other, "  27/123/45678 ", "27/123/45678"),
    ];
    for (kind, typed, kept) in cases {
        assert_eq!(read(kind, typed).as_deref(), Ok(kept), "{typed}");
    }
}

#[test]
fn a_mistyped_digit_is_found() {
    let not_found = |kind: TaxIdKind, number: &str| {
        let persons = [
            "BG7523169263",
            "CZ640903926",
            "CZ682127228",
            "CZ7103192745",
            "LV16117519997",
            "RO1630615123457",
        ];
        let without_pan =
            ["9917SGP29001OST", "0717USA12345NRF", "0717USA00009UNK", "0717USA00009ONK", "27MUMD12345A1Z5"];
        let ranges = ["GBGD001", "GBHA599"];
        // Its second row of weights takes what its first refuses.
        let by_two_rows = ["49098576"];
        matches!(kind, TaxIdKind::UsEin | TaxIdKind::JpTrn | TaxIdKind::Other)
            || [&persons[..], &without_pan, &ranges, &by_two_rows].concat().contains(&number)
    };
    for (kind, numbers) in GOOD {
        for number in numbers.iter().filter(|number| !not_found(*kind, number)) {
            // The last digits may be no check digits: a branch, an account, a registration.
            let at = number.char_indices().filter(|(_, letter)| letter.is_ascii_digit()).nth(4).unwrap().0;
            let digit = number.as_bytes()[at];
            let wrong = format!("{}{}{}", &number[..at], (digit - b'0' + 1) % 10, &number[at + 1..]);
            let refused = read(*kind, &wrong).unwrap_err();
            assert!(refused.contains("check digits do not fit"), "{number} {wrong}: {refused}");
        }
    }
}

#[test]
fn a_number_of_zeros_is_nobodys_whatever_is_put_after_it() {
    let zeros = |length| "0".repeat(length);
    for kind in TaxIdKind::ALL.into_iter().filter(|kind| *kind != TaxIdKind::Other) {
        let prefixes = formats::EU.iter().map(|state| state.prefix).chain(["", "CHE", "T", "ATU", "IEA"]);
        for (prefix, length) in prefixes.flat_map(|prefix| (0..15).map(move |length| (prefix, length))) {
            for suffix in ["", "B00", "RT0000", "W", "A", "T"] {
                let number = format!("{prefix}{}{suffix}", zeros(length));
                assert!(read(kind, &number).is_err(), "{kind:?} {number}");
            }
        }
    }
    let branches = [
        (TaxIdKind::EuVat, "NLB01"),
        (TaxIdKind::EuVat, "SE000000000001"),
        (TaxIdKind::EuVat, "XI000000000001"),
        (TaxIdKind::GbVat, "000000000001"),
        (TaxIdKind::CaGstHst, "000000000RT0001"),
    ];
    for (kind, number) in branches {
        assert!(read(kind, number).unwrap_err().contains("check digits do not fit"), "{number}");
    }
    let refused = read(TaxIdKind::UsEin, "00-0000000").unwrap_err();
    assert!(refused.contains("its digits are all zero; it is written 999999999"), "{refused}");
    assert_eq!(read(TaxIdKind::Other, "000").as_deref(), Ok("000"));
}

#[test]
fn what_is_wrong_is_told_with_how_it_would_be_right() {
    let told = |kind, value: &str| read(kind, value).unwrap_err();
    insta::assert_snapshot!(
        [
            told(TaxIdKind::EuVat, "DE12345678"),
            told(TaxIdKind::EuVat, "DE123456789"),
            told(TaxIdKind::EuVat, "NL004495445"),
            told(TaxIdKind::EuVat, "FR123"),
            told(TaxIdKind::EuVat, "GB980780684"),
            told(TaxIdKind::GbVat, "12"),
            told(TaxIdKind::ChVat, "CH107787577"),
            told(TaxIdKind::UsEin, "91-114444"),
            told(TaxIdKind::JpTrn, "1234567890123"),
            told(TaxIdKind::Other, " "),
            told(TaxIdKind::Other, &"x".repeat(51)),
        ]
        .join("\n"),
        @r"
    /value malformed: is not a VAT number of Germany: it is written DE999999999 (9 is a digit), for example DE136695976
    /value malformed: is not a VAT number of Germany: its check digits do not fit, so it was mistyped; it is written DE999999999 (9 is a digit), for example DE136695976
    /value malformed: is not a VAT number of the Netherlands: it is written NL999999999B99 (9 is a digit), for example NL004495445B01
    /value malformed: is not a VAT number of France: it is written FRXX999999999 (9 is a digit, X is a digit or a letter), for example FR40303265045
    /value malformed: does not begin with the code of a member state of the EU: AT, BE, BG, CY, CZ, DE, DK, EE, EL, ES, FI, FR, HR, HU, IE, IT, LT, LU, LV, MT, NL, PL, PT, RO, SE, SI, SK, XI
    /value malformed: is not a VAT number of the United Kingdom: it is written GB999999999 or GB999999999999 or GBGD999 or GBHA999 (9 is a digit), for example GB980780684
    /value malformed: is not a Swiss UID: it is written CHE999999999 or CHE999999999MWST or CHE999999999TVA or CHE999999999IVA or CHE999999999TPV (9 is a digit), for example CHE107787577MWST
    /value malformed: is not an employer identification number: it is written 999999999 (9 is a digit), for example 911144442
    /value malformed: is not a registration number of qualified invoices: it is written T9999999999999 (9 is a digit), for example T1234567890123
    /value malformed: is blank, or holds line breaks or control characters
    /value too_long: has at most 50 characters
    "
    );
}

#[test]
fn each_kind_refuses_what_is_another_kinds() {
    for kind in TaxIdKind::ALL.into_iter().filter(|kind| *kind != TaxIdKind::Other) {
        for nonsense in [
            "",
            "-",
            "0",
            "ABC",
            "Ä",
            "DE１３６６９５９７６",
            "DE136695976X",
            "T136695976",
            "GBGD500",
            "GBHA499",
        ] {
            assert!(read(kind, nonsense).is_err(), "{kind:?} {nonsense}");
        }
    }
}

#[test]
fn kinds_are_called_as_other_billing_systems_call_them() {
    let names: Vec<_> = TaxIdKind::ALL.into_iter().map(|kind| serde_json::to_value(kind).unwrap()).collect();
    let known = [
        "eu_vat",
        "gb_vat",
        "ch_vat",
        "no_vat",
        "us_ein",
        "ca_bn",
        "ca_gst_hst",
        "au_abn",
        "nz_gst",
        "in_gst",
        "jp_trn",
        "br_cnpj",
        "kr_brn",
        "other",
    ];
    assert_eq!(names, known);
}

proptest! {
    #[test]
    fn nothing_that_is_typed_is_a_panic_and_what_is_kept_is_kept_again(
        kind in prop::sample::select(TaxIdKind::ALL.to_vec()),
        prefix in prop::sample::select(formats::EU.iter().map(|state| state.prefix).chain(["", "CHE", "T"]).collect::<Vec<_>>()),
        rest in "[0-9A-Zé+* .-]{0,16}",
    ) {
        let typed = format!("{prefix}{rest}");
        if let Ok(kept) = read(kind, &typed) {
            prop_assert_eq!(read(kind, &kept), Ok(kept));
        }
    }
}
