//! The bytes of a message (MIME). Nothing in them can be told apart from what the sender meant.

use lettre::{
    address::AddressError,
    message::{
        self, Body, MultiPart, MultiPartKind, SinglePart,
        header::{ContentDisposition, ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};

use super::{Attachment, MailError, Mailbox, Message};

/// The message as it goes over the wire: the same input gives the same bytes.
pub(super) fn compose(message: &Message) -> Result<lettre::Message, MailError> {
    let local = local_part(&message.message_id)?;

    // `=_` cannot occur in quoted-printable or base64 text, so no content can contain a boundary.
    let mut body = MultiPart::builder()
        .kind(MultiPartKind::Alternative)
        .boundary(format!("=_alt_{local}"))
        .singlepart(text_part(ContentType::TEXT_PLAIN, &message.text))
        .singlepart(text_part(ContentType::TEXT_HTML, &message.html));
    if !message.attachments.is_empty() {
        let mixed = MultiPart::builder()
            .kind(MultiPartKind::Mixed)
            .boundary(format!("=_mix_{local}"))
            .multipart(body);
        body = message
            .attachments
            .iter()
            .try_fold(mixed, |parts, file| Ok::<_, MailError>(parts.singlepart(file_part(file)?)))?;
    }

    let mut builder = lettre::Message::builder()
        .message_id(Some(format!("<{}>", message.message_id)))
        .date(message.date.into())
        .from(mailbox("sender", &message.from)?)
        .to(mailbox("recipient", &message.to)?)
        .subject(one_line(&message.subject))
        // Keeps out-of-office assistants from answering (RFC 3834).
        .raw_header(HeaderValue::new(
            HeaderName::new_from_ascii_str("Auto-Submitted"),
            "auto-generated".to_owned(),
        ));
    if let Some(reply_to) = &message.reply_to {
        builder = builder.reply_to(mailbox("reply address", reply_to)?);
    }
    builder.multipart(body).map_err(|error| MailError::Invalid { part: "header", source: error.into() })
}

fn text_part(content_type: ContentType, text: &str) -> SinglePart {
    let body = Body::new_with_encoding(text.to_owned(), ContentTransferEncoding::QuotedPrintable)
        .expect("quoted-printable can carry any text");
    SinglePart::builder().header(content_type).body(body)
}

fn file_part(file: &Attachment) -> Result<SinglePart, MailError> {
    let content_type = ContentType::parse(&file.content_type)
        .map_err(|error| MailError::Invalid { part: "attachment's content type", source: error.into() })?;
    let body = Body::new_with_encoding(file.bytes.clone(), ContentTransferEncoding::Base64)
        .expect("base64 can carry any bytes");
    let disposition = ContentDisposition::attachment(&one_line(&file.name));
    Ok(SinglePart::builder().header(content_type).header(disposition).body(body))
}

fn mailbox(part: &'static str, Mailbox { name, email }: &Mailbox) -> Result<message::Mailbox, MailError> {
    let address =
        email.parse().map_err(|error: AddressError| MailError::Invalid { part, source: error.into() })?;
    let name = name.as_deref().map(one_line).filter(|name| !name.is_empty());
    Ok(message::Mailbox::new(name, address))
}

/// Nothing in a header may start a new line: what follows would be a header of the writer's choice.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ").trim().to_owned()
}

/// The part of a message id before the `@`. It is refused unless it is safe in a header, in a boundary
/// (RFC 2046 allows 70 characters) and in a file name.
pub(super) fn local_part(message_id: &str) -> Result<&str, MailError> {
    let safe = |text: &str, max: usize, marks: &[u8]| {
        (1..=max).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(&byte))
    };
    message_id
        .split_once('@')
        .filter(|(local, domain)| safe(local, 64, b"._-") && safe(domain, 253, b".-"))
        .map(|(local, _)| local)
        .ok_or_else(|| MailError::Invalid { part: "id", source: "expected `local@domain`".into() })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn address(name: &str, email: &str) -> Mailbox {
        Mailbox { name: Some(name.to_owned()), email: email.to_owned() }
    }

    pub(in super::super) fn invoice() -> Message {
        Message {
            message_id: "eml_019c13f1@billing.example".to_owned(),
            from: address("Acme Cloud", "billing@billing.example"),
            reply_to: Some(address("Acme support", "help@acme.example")),
            to: address("Zoë Ångström", "zoe@customer.example"),
            subject: "Your invoice for €89.00".to_owned(),
            html: "<p>Pay €89.00 here: https://pay.example/?a=1&b=2</p>".to_owned(),
            text: "Pay €89.00.\n--=_alt_eml_019c13f1\nDone.\n".to_owned(),
            attachments: vec![Attachment {
                name: "INV-0042.pdf".to_owned(),
                content_type: "application/pdf".to_owned(),
                bytes: b"%PDF-1.7".to_vec(),
            }],
            date: "2026-01-31T10:00:00Z".parse().unwrap(),
            kind: "invoice_issued",
        }
    }

    fn wire(message: &Message) -> String {
        String::from_utf8(compose(message).unwrap().formatted()).unwrap()
    }

    /// The header lines, with folded ones put together.
    fn headers(wire: &str) -> Vec<String> {
        let (head, _) = wire.split_once("\r\n\r\n").unwrap();
        head.replace("\r\n ", " ").split("\r\n").map(str::to_owned).collect()
    }

    #[test]
    fn a_message_keeps_its_id_and_date_and_says_that_a_machine_wrote_it() {
        let headers = headers(&wire(&invoice()));
        for expected in [
            "Message-ID: <eml_019c13f1@billing.example>",
            "Date: Sat, 31 Jan 2026 10:00:00 +0000",
            "From: \"Acme Cloud\" <billing@billing.example>",
            "Reply-To: \"Acme support\" <help@acme.example>",
            "Auto-Submitted: auto-generated",
        ] {
            assert!(headers.iter().any(|header| header == expected), "{expected} in {headers:#?}");
        }
    }

    #[test]
    fn text_comes_before_html_and_both_before_the_files() {
        let wire = wire(&invoice());
        let at = |what: &str| wire.find(what).unwrap_or_else(|| panic!("{what} in {wire}"));
        assert!(at("multipart/mixed") < at("multipart/alternative"));
        assert!(at("multipart/alternative") < at("text/plain"));
        assert!(at("text/plain") < at("text/html"));
        assert!(at("text/html") < at("filename=\"INV-0042.pdf\""));
    }

    #[test]
    fn no_text_can_end_the_part_it_stands_in() {
        let wire = wire(&invoice());
        let boundaries = wire.lines().filter(|line| line.starts_with("--=_alt_eml_019c13f1")).count();
        assert_eq!(boundaries, 3);
        assert!(wire.contains("--=3D_alt_eml_019c13f1"));
    }

    #[test]
    fn line_breaks_in_names_and_subjects_start_no_header() {
        let hostile = "Ada\r\nBcc: victim@example.com\r\n\r\n<script>\n\u{85}";
        let mut message = invoice();
        hostile.clone_into(&mut message.subject);
        message.to = address(hostile, "ada@customer.example");
        message.from = address(hostile, "billing@billing.example");
        message.reply_to = Some(address(hostile, "help@acme.example"));
        hostile.clone_into(&mut message.attachments[0].name);

        let (clean, hostile) = (headers(&wire(&invoice())), wire(&message));
        let names = |headers: &[String]| -> Vec<String> {
            headers.iter().map(|line| line.split(':').next().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&headers(&hostile)), names(&clean));
        assert!(!hostile.lines().any(|line| line.starts_with("Bcc:") || line.starts_with("<script>")));
    }

    #[test]
    fn what_no_server_could_send_is_invalid() {
        type Break = fn(&mut Message);
        let broken: [(&str, Break); 7] = [
            ("id", |m| m.message_id = "no-domain".to_owned()),
            ("id", |m| m.message_id = "../../etc/passwd@billing.example".to_owned()),
            ("id", |m| m.message_id = "a\r\nBcc: victim@example.com".to_owned()),
            ("recipient", |m| m.to.email = "nobody".to_owned()),
            ("recipient", |m| m.to.email = "a@b.example\r\nBcc: victim@example.com".to_owned()),
            ("sender", |m| m.from.email = String::new()),
            ("attachment's content type", |m| m.attachments[0].content_type = "pdf\r\nX: y".to_owned()),
        ];
        for (expected, breaks) in broken {
            let mut message = invoice();
            breaks(&mut message);
            match compose(&message) {
                Err(MailError::Invalid { part, .. }) => assert_eq!(part, expected),
                other => panic!("{expected}: {other:?}"),
            }
        }
    }
}
