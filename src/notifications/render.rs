//! Turns the facts of an email into its subject, HTML and plain text. It loads nothing and sends nothing.
//!
//! The MJML of every kind becomes HTML once, at the first email, while the placeholders in it are still
//! placeholders. Data is only ever put into finished HTML, escaped: it can write neither MJML nor template.

use std::{fmt::Write, sync::LazyLock};

use minijinja::{
    AutoEscape, Environment, Error, ErrorKind, Output, State, UndefinedBehavior, Value, context,
    syntax::SyntaxConfig, value::Serde,
};
use mrml::prelude::render::RenderOptions;

pub use self::{content::*, written::*};

mod content;
#[cfg(test)]
pub(crate) mod samples;
mod written;

/// What a mail program shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// One line.
    pub subject: String,
    pub html: String,
    pub text: String,
}

/// A template asked for something that the context does not hold: a bug of ours.
#[derive(Debug, thiserror::Error)]
#[error("the {kind} email could not be rendered")]
pub struct RenderError {
    /// Which email.
    pub kind: Kind,
    source: Error,
}

/// Where a kind's own body goes in the layout.
const BODY: &str = "<!-- body -->";

static TEMPLATES: LazyLock<Environment<'static>> =
    LazyLock::new(|| templates().expect("the built-in templates are compiled by every test run"));

/// Writes the email that `context` holds the facts of.
pub fn render(context: &Context) -> Result<Rendered, RenderError> {
    let kind = context.content.kind();
    try_render(kind, context).map_err(|source| RenderError { kind, source })
}

fn try_render(kind: Kind, context: &Context) -> Result<Rendered, Error> {
    let facts = Value::from(Serde(context));

    let mut text = TEMPLATES.get_template(&format!("{kind}.txt"))?.render_captured(facts.clone())?;
    let (subject, preview) = text.with_state_mut(|state| {
        Ok::<_, Error>((state.render_block("subject")?, state.render_block("preview")?))
    })?;
    let subject = if context.livemode { subject } else { format!("[Test] {subject}") };

    let html = TEMPLATES
        .get_template(&format!("{kind}.html"))?
        .render(context! { subject => &subject, preview, ..facts })?;
    Ok(Rendered { subject, html, text: text.into_output() })
}

impl Kind {
    /// The MJML body and the plain text, which also holds the subject and the preview that inboxes show.
    const fn sources(self) -> (&'static str, &'static str) {
        match self {
            Self::InvoiceIssued => (
                include_str!("../../templates/emails/invoice_issued.mjml"),
                include_str!("../../templates/emails/invoice_issued.txt"),
            ),
            Self::PaymentReceipt => (
                include_str!("../../templates/emails/payment_receipt.mjml"),
                include_str!("../../templates/emails/payment_receipt.txt"),
            ),
            Self::PaymentFailed => (
                include_str!("../../templates/emails/payment_failed.mjml"),
                include_str!("../../templates/emails/payment_failed.txt"),
            ),
            Self::ActionRequired => (
                include_str!("../../templates/emails/action_required.mjml"),
                include_str!("../../templates/emails/action_required.txt"),
            ),
            Self::TrialWillEnd => (
                include_str!("../../templates/emails/trial_will_end.mjml"),
                include_str!("../../templates/emails/trial_will_end.txt"),
            ),
            Self::SubscriptionCanceled => (
                include_str!("../../templates/emails/subscription_canceled.mjml"),
                include_str!("../../templates/emails/subscription_canceled.txt"),
            ),
            Self::AccessRestricted => (
                include_str!("../../templates/emails/access_restricted.mjml"),
                include_str!("../../templates/emails/access_restricted.txt"),
            ),
            Self::PaymentRecovered => (
                include_str!("../../templates/emails/payment_recovered.mjml"),
                include_str!("../../templates/emails/payment_recovered.txt"),
            ),
        }
    }
}

fn templates() -> Result<Environment<'static>, Box<dyn std::error::Error>> {
    let layout = include_str!("../../templates/emails/layout.mjml");

    let mut templates = Environment::new();
    templates.set_syntax(
        SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build()?,
    );
    templates.set_undefined_behavior(UndefinedBehavior::Strict);
    templates.set_formatter(write_value);
    templates.add_template("parts.html", include_str!("../../templates/emails/parts.html"))?;
    templates.add_template("layout.txt", include_str!("../../templates/emails/layout.txt"))?;
    for kind in Kind::ALL {
        let (body, text) = kind.sources();
        let html = mrml::parse(layout.replacen(BODY, body, 1))?
            .element
            .render(&RenderOptions { disable_comments: true, ..RenderOptions::default() })?;
        templates.add_template_owned(format!("{kind}.html"), html)?;
        templates.add_template_owned(format!("{kind}.txt"), text)?;
    }
    Ok(templates)
}

/// Writes a value so that it stays what it is: in HTML it opens no tag and leaves no attribute, in text and
/// subjects it starts no line, and nowhere does it turn the direction of what surrounds it.
fn write_value(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    if value.is_none() {
        return Err(Error::new(ErrorKind::InvalidOperation, "would print a value that is absent"));
    }
    let text = value.to_string();
    if value.is_safe() {
        return Ok(out.write_str(&text)?);
    }
    let html = matches!(state.auto_escape(), AutoEscape::Html);
    for letter in text.chars() {
        match letter {
            '&' if html => out.write_str("&amp;")?,
            '<' if html => out.write_str("&lt;")?,
            '>' if html => out.write_str("&gt;")?,
            '"' if html => out.write_str("&quot;")?,
            '\'' if html => out.write_str("&#39;")?,
            '\u{2028}' | '\u{2029}' => out.write_char(' ')?,
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {}
            letter if letter.is_control() => out.write_char(' ')?,
            letter => out.write_char(letter)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(context: &Context) -> Rendered {
        render(context).unwrap_or_else(|error| panic!("{error}: {:#}", error.source))
    }

    /// What a person reads: the HTML without its tags and styles.
    fn visible(html: &str) -> String {
        let (_, body) = html.split_once("<body").expect("a page has a body");
        let texts = body.split('<').filter_map(|tag| tag.split_once('>')).map(|(_, text)| text);
        texts.collect::<Vec<_>>().join(" ").split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_kind_is_called_the_same_everywhere() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(samples::full(kind).content.kind(), kind);
        }
    }

    #[test]
    fn every_kind_renders_with_and_without_its_optional_facts() {
        for context in Kind::ALL.into_iter().flat_map(|kind| [samples::full(kind), samples::bare(kind)]) {
            let kind = context.content.kind();
            let Rendered { subject, html, text } = rendered(&context);
            assert!((10..=90).contains(&subject.chars().count()), "{kind}: {subject}");
            assert_eq!(subject, subject.trim(), "{kind}");
            for form in [&visible(&html), &text] {
                for left_over in ["{{", "{%", "{#", "<mj-", "None", "\n\n\n"] {
                    assert!(!form.contains(left_over), "{kind}: {left_over} in {form}");
                }
                assert!(form.contains("Acme Cloud"), "{kind}: {form}");
            }
            assert!(html.len() < 100_000, "{kind}: Gmail cuts after 102 kB");
        }
    }

    #[test]
    fn text_and_html_say_the_same() {
        let facts: [(Kind, &[&str]); 8] = [
            (
                Kind::InvoiceIssued,
                &[
                    "INV-0042",
                    "€1,234.50",
                    "14 February 2026",
                    "Subtotal",
                    "€1,134.50",
                    "Discount",
                    "−€13.05",
                    "19%",
                    "€213.05",
                    "Margin scheme",
                    "−€100.00",
                    "API requests",
                    "PDF",
                ],
            ),
            (Kind::PaymentReceipt, &["INV-0042", "€1,234.50", "1 February 2026", "Visa ending in 4242"]),
            (Kind::PaymentFailed, &["not enough funds", "attempt 2", "4 February 2026", "14 February 2026"]),
            (Kind::ActionRequired, &["€1,234.50", "INV-0042", "confirm by", "14 February 2026"]),
            (Kind::TrialWillEnd, &["14 February 2026", "€89.00 per month", "Visa ending in 4242"]),
            (Kind::SubscriptionCanceled, &["Pro", "As you asked", "28 February 2026", "welcome back"]),
            (Kind::AccessRestricted, &["€1,234.50", "INV-0042", "limited", "14 February 2026"]),
            (Kind::PaymentRecovered, &["€1,234.50", "INV-0042", "full access again"]),
        ];
        for (kind, facts) in facts {
            let Rendered { html, text, .. } = rendered(&samples::full(kind));
            let (html, text) = (visible(&html), text.split_whitespace().collect::<Vec<_>>().join(" "));
            for fact in facts {
                assert!(html.contains(fact), "{kind}: {fact} in {html}");
                assert!(text.contains(fact), "{kind}: {fact} in {text}");
            }
        }
    }

    #[test]
    fn a_link_is_whole_in_both_forms() {
        for kind in Kind::ALL {
            let Rendered { html, text, .. } = rendered(&samples::full(kind));
            assert!(html.contains(r#"href="https://billing.example/p/abc?a=1&amp;b=2""#), "{kind}");
            assert!(text.contains(" https://billing.example/p/abc?a=1&b=2\n"), "{kind}: {text}");
        }
    }

    #[test]
    fn hostile_texts_stay_texts() {
        let hostile = "<script>alert('x')</script>\"{{7*191}}{% raw %}<mj-text>\r\nBcc: a@b.example\u{202e}";
        for kind in Kind::ALL {
            let Rendered { subject, html, text } = rendered(&samples::with_texts(kind, hostile));

            for opened in ["<script", "<mj-", "alert('x')", "1337", "\u{202e}"] {
                assert!(!html.contains(opened), "{kind}: {opened} in {html}");
            }
            assert!(
                html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;{{7*191}}{% raw %}"),
                "{kind}"
            );
            assert!(
                text.contains("<script>alert('x')</script>\"{{7*191}}{% raw %}<mj-text>  Bcc:"),
                "{kind}"
            );
            assert!(!subject.contains(char::is_control), "{kind}: {subject:?}");
            assert!(!text.lines().any(|line| line.starts_with("Bcc:")), "{kind}: {text}");
        }
    }

    #[test]
    fn the_tenants_colour_is_on_the_card_and_the_button() {
        let html = rendered(&samples::full(Kind::PaymentFailed)).html;
        assert!(html.contains("border-top:4px solid #0f766e"));
        assert!(html.contains(r##"bgcolor="#0f766e""##));
    }

    #[test]
    fn a_test_email_says_so_in_subject_text_and_html() {
        let live = samples::full(Kind::PaymentReceipt);
        let test = Context { livemode: false, ..live.clone() };
        let (live, test) = (rendered(&live), rendered(&test));
        assert_eq!(test.subject, format!("[Test] {}", live.subject));
        for (test, live) in [(&test.text, &live.text), (&test.html, &live.html)] {
            assert!(test.contains("no real money moves") && !live.contains("no real money moves"));
        }
    }

    #[test]
    fn a_long_invoice_shows_ten_lines_and_counts_the_others() {
        let mut context = samples::full(Kind::InvoiceIssued);
        let Content::InvoiceIssued(invoice) = &mut context.content else { panic!("an invoice") };
        let line = invoice.lines[0].clone();
        invoice.lines =
            (1..=13).map(|n| Line { description: format!("Seat {n}."), ..line.clone() }).collect();

        let Rendered { html, text, .. } = rendered(&context);
        for form in [visible(&html), text] {
            assert!(form.contains("Seat 10.") && !form.contains("Seat 11."), "{form}");
            assert!(form.contains("and 3 more"), "{form}");
        }
    }

    #[test]
    fn a_final_decline_asks_for_another_method_instead_of_promising_a_try() {
        let mut context = samples::bare(Kind::PaymentFailed);
        let Content::PaymentFailed(failed) = &mut context.content else { panic!("a failure") };
        failed.method = Some("Visa ending in 4242".to_owned());

        let Rendered { html, text, .. } = rendered(&context);
        for form in [visible(&html), text] {
            assert!(form.contains("We will not try this payment method again. Please add another"), "{form}");
            assert!(!form.contains("We will try again"), "{form}");
        }
    }

    #[test]
    fn who_has_no_payment_method_is_asked_for_one() {
        let mut context = samples::bare(Kind::PaymentFailed);
        let Content::PaymentFailed(failed) = &mut context.content else { panic!("a failure") };
        failed.decline = Decline::NoMethod;

        let Rendered { html, text, .. } = rendered(&context);
        for form in [visible(&html), text] {
            assert!(form.contains("There is no payment method that we could charge."), "{form}");
            assert!(form.contains("Please add a payment method, and") && !form.contains("again"), "{form}");
        }
    }

    #[test]
    fn a_settled_invoice_asks_for_nothing() {
        let mut context = samples::full(Kind::InvoiceIssued);
        let Content::InvoiceIssued(invoice) = &mut context.content else { panic!("an invoice") };
        invoice.settlement = Settlement::Settled;

        let Rendered { html, text, .. } = rendered(&context);
        assert!(html.contains("Nothing to pay"));
        for form in [visible(&html), text] {
            assert!(form.contains("it is already settled."), "{form}");
            for demand in ["Please pay", "will charge", "View and pay"] {
                assert!(!form.contains(demand), "{demand} in {form}");
            }
        }
    }
}
