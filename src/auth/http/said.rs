//! What bodies say of who issues invoices: checked alike for the account and for its other issuers.

use accrue_platform::check::Check;

use crate::auth::model::{is_color, is_prefix};

/// How long a name may be.
pub const NAME_MAX: usize = 200;

const ADDRESS_LINES_MAX: usize = 8;
const LINE_MAX: usize = 100;
const FOOTER_MAX: usize = 1000;
/// A year: nobody gives more time than that, and dates stay dates.
const NET_TERMS_DAYS_MAX: u16 = 365;

/// What documents say, and how they are numbered; each part if it is named.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    pub invoice_prefix: Option<&'a str>,
    pub credit_note_prefix: Option<&'a str>,
    pub net_terms_days: Option<u16>,
    pub invoice_footer: Option<&'a str>,
    pub brand_color: Option<&'a str>,
}

impl Said<'_> {
    pub fn check(self, check: &mut Check) {
        let prefixes =
            [("/invoice_prefix", self.invoice_prefix), ("/credit_note_prefix", self.credit_note_prefix)];
        for (pointer, prefix) in prefixes {
            if prefix.is_some_and(|prefix| !is_prefix(prefix)) {
                check.refuse(pointer, "malformed", "has 1 to 12 ASCII letters and digits");
            }
        }
        check_net_terms(check, self.net_terms_days);
        check.optional_text("/invoice_footer", self.invoice_footer, FOOTER_MAX);
        if self.brand_color.is_some_and(|color| !is_color(color)) {
            check.refuse("/brand_color", "malformed", "is not a colour like #1f4fd8");
        }
    }
}

/// The days somebody has to pay, at `/net_terms_days`.
pub fn check_net_terms(check: &mut Check, days: Option<u16>) {
    if days.is_some_and(|days| days > NET_TERMS_DAYS_MAX) {
        check.refuse("/net_terms_days", "out_of_range", format!("is 0 to {NET_TERMS_DAYS_MAX}"));
    }
}

/// An address as on an envelope.
pub fn check_address(check: &mut Check, pointer: &str, lines: &[String]) {
    if lines.len() > ADDRESS_LINES_MAX {
        check.refuse(pointer, "too_many", format!("has at most {ADDRESS_LINES_MAX} lines"));
    }
    for (index, line) in lines.iter().enumerate().take(ADDRESS_LINES_MAX) {
        check.text(&format!("{pointer}/{index}"), line, LINE_MAX);
    }
}
