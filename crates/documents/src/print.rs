//! Turns an invoice into what the template prints: finished texts and nothing to compute.

use chrono::{Datelike, NaiveDate};
use serde_json::{Value, json};

use crate::{Detail, Invoice, Line, Locale, Party, Period, RenderError};

/// The template's input. `labels` names the language of the fixed words.
pub(crate) fn input(invoice: &Invoice, labels: &str) -> Result<Value, RenderError> {
    let page = Page { locale: invoice.locale, currency: one_line(&invoice.currency) };
    let lines: Vec<_> = invoice.lines.iter().map(|line| page.line(line)).collect::<Result<_, _>>()?;
    let taxes: Vec<_> = invoice
        .taxes
        .iter()
        .map(|tax| {
            let (base, amount) =
                (page.amount("taxes.base", &tax.base)?, page.amount("taxes.amount", &tax.amount)?);
            Ok(json!({ "label": one_line(&tax.label), "base": base, "amount": amount }))
        })
        .collect::<Result<_, RenderError>>()?;
    let references: Vec<_> = invoice
        .references
        .iter()
        .map(|fact| json!({ "label": one_line(&fact.label), "text": one_line(&fact.text) }))
        .collect();

    Ok(json!({
        "labels": labels,
        "kind": invoice.kind.code(),
        "number": invoice.number.as_deref().map(one_line),
        "date": date_parts(invoice.issued_on),
        "issued_on": page.date(invoice.issued_on),
        "due_on": invoice.due_on.map(|on| page.date(on)),
        "paid_on": invoice.paid_on.map(|on| page.date(on)),
        "voided_on": invoice.voided_on.map(|on| page.date(on)),
        "period": invoice.period.map(|period| page.period(period)),
        "issuer": party(&invoice.issuer),
        "customer": party(&invoice.customer),
        "references": references,
        "currency": page.currency,
        "lines": lines,
        "subtotal": page.amount("subtotal", &invoice.subtotal)?,
        "discount_total": page.deduction("discount_total", invoice.discount_total.as_deref())?,
        "taxes": taxes,
        "tax_note": invoice.tax_note.as_deref().map(one_line),
        "total": page.money("total", &invoice.total)?,
        "credits_applied": page.deduction("credits_applied", invoice.credits_applied.as_deref())?,
        "previous_balance": invoice
            .previous_balance
            .as_deref()
            .map(|amount| page.amount("previous_balance", amount))
            .transpose()?,
        "amount_paid": page.money("amount_paid", &invoice.amount_paid)?,
        "amount_paid_deducted": page.deduction("amount_paid", Some(&invoice.amount_paid))?,
        "amount_due": page.money("amount_due", &invoice.amount_due)?,
        "payment_instructions": invoice.payment_instructions.as_deref().map(many_lines),
        "payment_url": invoice.payment_url.as_deref().map(web_address).transpose()?,
        "notes": invoice.notes.as_deref().map(many_lines),
        "footer": invoice.footer.as_deref().map(many_lines),
        "color": invoice.color.as_deref().filter(|color| is_color(color)),
    }))
}

/// What all texts of one document have in common.
struct Page {
    locale: Locale,
    currency: String,
}

impl Page {
    fn line(&self, line: &Line) -> Result<Value, RenderError> {
        let details: Vec<_> = line.details.iter().map(|detail| self.detail(detail)).collect();
        Ok(json!({
            "description": many_lines(&line.description),
            "period": line.period.map(|period| self.period(period)),
            "quantity": self.number_or_text(line.quantity.as_deref()),
            "unit_price": self.number_or_text(line.unit_price.as_deref()),
            "tax": line.tax.as_deref().map(one_line),
            "amount": self.amount("lines.amount", &line.amount)?,
            "details": details,
        }))
    }

    fn detail(&self, detail: &Detail) -> Value {
        json!({
            "description": many_lines(&detail.description),
            "quantity": self.number_or_text(detail.quantity.as_deref()),
            "unit_price": self.number_or_text(detail.unit_price.as_deref()),
            "amount": self.number_or_text(detail.amount.as_deref()),
        })
    }

    fn number_or_text(&self, text: Option<&str>) -> Option<String> {
        text.map(|text| self.locale.number(text).unwrap_or_else(|| one_line(text)))
    }

    fn amount(&self, field: &'static str, plain: &str) -> Result<String, RenderError> {
        self.locale.number(plain).ok_or(RenderError::Amount { field })
    }

    fn money(&self, field: &'static str, plain: &str) -> Result<String, RenderError> {
        self.locale.money(plain, &self.currency).ok_or(RenderError::Amount { field })
    }

    /// What is taken off, with its minus sign; nothing if there is nothing to take off.
    fn deduction(&self, field: &'static str, plain: Option<&str>) -> Result<Option<String>, RenderError> {
        let Some(plain) = plain else { return Ok(None) };
        let written = self.amount(field, plain)?;
        let is_zero = plain.bytes().all(|byte| matches!(byte, b'0' | b'.' | b'-'));
        let negated = written.strip_prefix('-').map_or_else(|| format!("-{written}"), str::to_owned);
        Ok((!is_zero).then_some(negated))
    }

    fn date(&self, on: NaiveDate) -> String {
        self.locale.date(on)
    }

    fn period(&self, Period { first_on, last_on }: Period) -> String {
        if first_on == last_on {
            return self.date(first_on);
        }
        format!("{} – {}", self.date(first_on), self.date(last_on))
    }
}

/// What the template can read as a colour.
fn is_color(text: &str) -> bool {
    text.strip_prefix('#')
        .is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn party(party: &Party) -> Value {
    json!({
        "name": one_line(&party.name),
        "address": party.address.iter().map(|text| one_line(text)).collect::<Vec<_>>(),
        "tax_ids": party.tax_ids.iter().map(|text| one_line(text)).collect::<Vec<_>>(),
        "email": party.email.as_deref().map(one_line),
    })
}

fn date_parts(on: NaiveDate) -> Value {
    json!({ "year": on.year(), "month": on.month(), "day": on.day() })
}

/// Only what a browser opens: a PDF reader would follow `file:` and `javascript:` too.
fn web_address(url: &str) -> Result<&str, RenderError> {
    const LENGTH_MAX: usize = 2000;
    let is_web = url.starts_with("https://") || url.starts_with("http://");
    let is_plain = url.len() <= LENGTH_MAX && url.bytes().all(|byte| byte.is_ascii_graphic());
    if is_web && is_plain { Ok(url) } else { Err(RenderError::PaymentUrl) }
}

fn one_line(text: &str) -> String {
    many_lines(text).replace('\n', " ")
}

/// Keeps line breaks, whatever their spelling, and drops what cannot be printed.
fn many_lines(text: &str) -> String {
    text.replace("\r\n", "\n").chars().filter_map(printable).collect()
}

fn printable(char: char) -> Option<char> {
    match char {
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}' => Some('\n'),
        '\t' => Some(' '),
        // The first two turn the direction of what follows: `100` must not be made to read `001`. The others
        // are no characters: XML, and with it the file's metadata, forbids them.
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}' => None,
        char if char.is_control() => None,
        char => Some(char),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_breaks_of_every_spelling_become_one() {
        assert_eq!(many_lines("a\r\nb\rc\nd\u{2028}e"), "a\nb\nc\nd\ne");
        assert_eq!(one_line("a\r\nb\tc"), "a b c");
    }

    #[test]
    fn what_cannot_be_printed_or_turns_the_text_around_is_dropped() {
        assert_eq!(many_lines("a\0b\u{7}c\u{202e}d\u{2067}e\u{ffff}"), "abcde");
        assert_eq!(many_lines("שלום 世界 🙂"), "שלום 世界 🙂");
    }

    #[test]
    fn deductions_carry_one_minus_sign_and_zero_is_none() {
        let page = Page { locale: Locale::De, currency: "EUR".into() };
        let deduction = |plain| page.deduction("discount_total", Some(plain)).unwrap();
        assert_eq!(deduction("1234.50").as_deref(), Some("-1.234,50"));
        assert_eq!(deduction("-5.00").as_deref(), Some("5,00"));
        assert_eq!(deduction("0.00"), None);
    }

    #[test]
    fn only_web_addresses_become_links() {
        assert!(web_address("https://pay.example/i/abc?x=1").is_ok());
        for url in ["", "javascript:alert(1)", "file:///etc/passwd", "https://a b", "https://a\u{202e}b"] {
            assert_eq!(web_address(url), Err(RenderError::PaymentUrl), "{url}");
        }
    }
}
