//! Mail carries one finished message to an SMTP server or into a folder. It writes no texts, and decides
//! neither who gets one nor when a failed one is tried again.

use std::{
    fs,
    io::{self, Write},
    net::Ipv4Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use chrono::{DateTime, Utc};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor, transport::smtp};
use secrecy::{ExposeSecret, SecretString};
use tracing::instrument;
use url::{Host, Url};
use uuid::Uuid;

use self::mime::{compose, local_part};

mod mime;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// How long one exchange with the mail server may take before the message is tried again later.
const SMTP_TIMEOUT: Duration = Duration::from_secs(20);

/// Where messages go. Cheap to clone; clones share their connections.
#[derive(Clone, Debug)]
pub struct Mailer(Transport);

#[derive(Clone, Debug)]
enum Transport {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Folder(PathBuf),
}

/// One finished message.
#[derive(Clone, Debug)]
pub struct Message {
    /// `local@domain`, without the angle brackets. The same message keeps it on every attempt: mail
    /// servers recognise a repeat by it, and the folder overwrites.
    pub message_id: String,
    pub from: Mailbox,
    /// Who gets the answers, when it is not `from`.
    pub reply_to: Option<Mailbox>,
    pub to: Mailbox,
    pub subject: String,
    pub html: String,
    pub text: String,
    pub attachments: Vec<Attachment>,
    /// When the message was written, not when it is tried: a repeat has the same bytes.
    pub date: DateTime<Utc>,
    /// What the message is about, for logs and file names: `invoice_issued`.
    pub kind: &'static str,
}

/// An address and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Shown to people. Line breaks and other control characters are sent as spaces.
    pub name: Option<String>,
    pub email: String,
}

/// A file that travels with a message.
#[derive(Clone, Debug)]
pub struct Attachment {
    pub name: String,
    /// A media type: `application/pdf`.
    pub content_type: String,
    pub bytes: Vec<u8>,
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// No server could ever send it: trying again is useless.
    #[error("the message's {part} cannot be used")]
    Invalid {
        /// What is wrong with the message.
        part: &'static str,
        source: Cause,
    },
    /// The server said no for good, and said it about this message.
    #[error("the mail server refused the message with {code}")]
    Rejected {
        /// The SMTP reply code, 5xx.
        code: u16,
        /// The server's own words. They may hold addresses: show them, do not log them.
        reply: String,
    },
    /// Trying again later may help.
    #[error("the message could not be sent now")]
    Temporary(#[source] Cause),
}

/// Why an SMTP URL was refused.
#[derive(Debug, thiserror::Error)]
pub enum SmtpUrlError {
    #[error("the SMTP URL is not of the form smtps://user:password@host:port")]
    Malformed(#[source] Cause),
    #[error("the SMTP URL would send its password unencrypted: use smtps:// or add ?tls=required")]
    UnprotectedPassword,
}

impl Mailer {
    /// Sends over pooled connections to the server of `url`: `smtps://…`, or `smtp://…?tls=required` for
    /// STARTTLS. Connects with the first message, not now; panics outside of a Tokio
    /// runtime, where its connections live.
    pub fn smtp(url: &SecretString) -> Result<Self, SmtpUrlError> {
        let url = url.expose_secret();
        let parsed = Url::parse(url).map_err(|error| SmtpUrlError::Malformed(error.into()))?;
        if parsed.password().is_some() && !is_private(&parsed) {
            return Err(SmtpUrlError::UnprotectedPassword);
        }
        let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url)
            .map_err(|error| SmtpUrlError::Malformed(error.into()))?
            .timeout(Some(SMTP_TIMEOUT))
            .build();
        Ok(Self(Transport::Smtp(server)))
    }

    /// Writes each message to its own `.eml` file in `folder`, which is made when it is needed.
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        Self(Transport::Folder(folder.into()))
    }

    /// Sends `message`, at least once if the caller repeats what was [`MailError::Temporary`].
    #[instrument(name = "mail.send", skip_all, fields(mail.kind = message.kind, mail.message_id = message.message_id))]
    pub async fn send(&self, message: &Message) -> Result<(), MailError> {
        let composed = compose(message)?;
        match &self.0 {
            Transport::Smtp(server) => server.send(composed).await.map(drop).map_err(MailError::from),
            Transport::Folder(folder) => {
                let (folder, name) = (folder.clone(), file_name(message)?);
                blocking(move || write_whole(&folder, &name, &composed.formatted())).await
            }
        }
    }

    /// Whether messages could be sent now: the server answers and knows us, or the folder can be written.
    pub async fn check(&self) -> Result<(), MailError> {
        match &self.0 {
            Transport::Smtp(server) => match server.test_connection().await {
                Ok(true) => Ok(()),
                Ok(false) => Err(MailError::Temporary("the mail server hung up".into())),
                Err(error) => Err(error.into()),
            },
            Transport::Folder(folder) => {
                let folder = folder.clone();
                blocking(move || {
                    let probe = format!(".check-{}", Uuid::new_v4().simple());
                    write_whole(&folder, &probe, b"")?;
                    fs::remove_file(folder.join(probe))
                })
                .await
            }
        }
    }
}

/// A 5xx reply is final only when it is about the message. A wrong password or a server that takes no
/// mail at all (RFC 4954, RFC 7504) is the operator's to mend, and the message must outlive it.
impl From<smtp::Error> for MailError {
    fn from(error: smtp::Error) -> Self {
        match error.status().map(u16::from) {
            Some(code) if error.is_permanent() && !matches!(code, 521 | 530 | 534 | 535 | 538) => {
                let reply = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                Self::Rejected { code, reply }
            }
            _ => Self::Temporary(error.into()),
        }
    }
}

/// Whether nobody on the way can read what is said to the server of `url`.
fn is_private(url: &Url) -> bool {
    let encrypted =
        url.scheme() == "smtps" || url.query_pairs().any(|(key, value)| key == "tls" && value == "required");
    // Only http-like schemes get their addresses parsed, so `127.0.0.1` arrives here as a domain.
    let loopback = match url.host() {
        Some(Host::Domain(host)) => {
            host == "localhost" || host.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        }
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    encrypted || loopback
}

/// Sorts by time and tells what is inside; a repeat of the same message has the same name.
fn file_name(message: &Message) -> Result<String, MailError> {
    let local = local_part(&message.message_id)?;
    Ok(format!("{}-{}-{local}.eml", message.date.format("%Y%m%dT%H%M%SZ"), message.kind))
}

/// Nobody who looks into `folder` ever sees half a file, not even after a crash.
fn write_whole(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let unfinished = folder.join(format!(".{}.part", Uuid::new_v4().simple()));
    let written = fs::File::create_new(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, folder.join(name))
    });
    if written.is_err() {
        // The write's own error is the one to tell; what is left behind is hidden and harmless.
        let _ = fs::remove_file(&unfinished);
    }
    written
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), MailError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)
        .flatten()
        .map_err(|error| MailError::Temporary(error.into()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader},
        net::{TcpListener, TcpStream},
        sync::mpsc,
        thread,
    };

    use super::{mime::tests::invoice, *};

    /// A folder of its own for one test, removed at its end.
    struct Outbox(PathBuf);

    impl Outbox {
        fn new() -> Self {
            Self(std::env::temp_dir().join(format!("outbox-{}", Uuid::new_v4().simple())))
        }

        fn files(&self) -> Vec<(String, String)> {
            let mut files: Vec<_> = fs::read_dir(&self.0)
                .unwrap()
                .map(|entry| entry.unwrap())
                .map(|entry| {
                    (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap())
                })
                .collect();
            files.sort();
            files
        }
    }

    impl Drop for Outbox {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn a_repeat_of_a_message_overwrites_its_file_with_the_same_bytes() {
        let outbox = Outbox::new();
        let mailer = Mailer::folder(&outbox.0);

        mailer.send(&invoice()).await.unwrap();
        let first = outbox.files();
        mailer.send(&invoice()).await.unwrap();

        assert_eq!(outbox.files(), first);
        assert_eq!(first.len(), 1);
        assert_eq!(first[0].0, "20260131T100000Z-invoice_issued-eml_019c13f1.eml");
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_tried_again_later() {
        let outbox = Outbox::new();
        fs::write(&outbox.0, b"a file where the folder should be").unwrap();
        let mailer = Mailer::folder(&outbox.0);

        assert!(matches!(mailer.send(&invoice()).await, Err(MailError::Temporary(_))));
        assert!(matches!(mailer.check().await, Err(MailError::Temporary(_))));
        fs::remove_file(&outbox.0).unwrap();
        mailer.check().await.unwrap();
        assert_eq!(outbox.files(), []);
    }

    #[tokio::test]
    async fn a_password_never_travels_in_the_clear() {
        let accepts = |url: &str| Mailer::smtp(&SecretString::from(url)).is_ok();
        assert!(accepts("smtps://user:secret@mail.example"));
        assert!(accepts("smtp://user:secret@mail.example?tls=required"));
        assert!(accepts("smtp://user:secret@127.0.0.1:1025"));
        assert!(accepts("smtp://mail.example:25"));
        assert!(!accepts("smtp://user:secret@mail.example"));
        assert!(!accepts("smtp://user:secret@127.0.0.1.mail.example"));
        assert!(!accepts("smtp://user:secret@mail.example?tls=opportunistic"));
        assert!(!accepts("https://mail.example"));
        assert!(!accepts("mail.example"));
    }

    #[tokio::test]
    async fn a_mailer_never_shows_its_password() {
        let mailer = Mailer::smtp(&SecretString::from("smtps://user:hunter2@mail.example")).unwrap();
        assert!(!format!("{mailer:?}").contains("hunter2"));
    }

    /// Speaks just enough SMTP for one session, answers the end of the data with `verdict`, and hands over
    /// what it heard.
    fn mail_server(verdict: &'static str) -> (Mailer, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("smtp://127.0.0.1:{}", listener.local_addr().unwrap().port());
        let (to_test, heard) = mpsc::channel();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let _ = to_test.send(session(stream, verdict).unwrap());
        });
        (Mailer::smtp(&SecretString::from(url)).unwrap(), heard)
    }

    fn session(mut stream: TcpStream, verdict: &str) -> io::Result<String> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let mut heard = String::new();
        write!(stream, "220 test\r\n")?;
        while let Some(line) = lines.next().transpose()? {
            heard.push_str(&line);
            heard.push('\n');
            match line.as_str() {
                "DATA" => write!(stream, "354 go on\r\n")?,
                "." => {
                    write!(stream, "{verdict}\r\n")?;
                    break;
                }
                _ if heard.contains("\nDATA\n") => {}
                _ => write!(stream, "250 fine\r\n")?,
            }
        }
        Ok(heard)
    }

    #[tokio::test]
    async fn a_server_gets_the_message_for_its_recipient() {
        let (mailer, heard) = mail_server("250 queued");
        mailer.send(&invoice()).await.unwrap();
        let heard = heard.recv().unwrap();
        assert!(heard.contains("MAIL FROM:<billing@billing.example>"), "{heard}");
        assert!(heard.contains("RCPT TO:<zoe@customer.example>"), "{heard}");
        assert!(heard.contains("Message-ID: <eml_019c13f1@billing.example>"), "{heard}");
    }

    #[tokio::test]
    async fn a_refusal_of_the_message_is_final_and_keeps_the_servers_words() {
        let (mailer, _heard) = mail_server("550 no such user");
        match mailer.send(&invoice()).await {
            Err(MailError::Rejected { code: 550, reply }) => assert_eq!(reply, "no such user"),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn what_is_not_the_messages_fault_is_tried_again_later() {
        for verdict in ["451 try later", "535 wrong password", "521 no mail here", "gibberish"] {
            let (mailer, _heard) = mail_server(verdict);
            let sent = mailer.send(&invoice()).await;
            assert!(matches!(sent, Err(MailError::Temporary(_))), "{verdict}: {sent:?}");
        }
        let nobody = Mailer::smtp(&SecretString::from("smtp://127.0.0.1:1")).unwrap();
        assert!(matches!(nobody.send(&invoice()).await, Err(MailError::Temporary(_))));
        assert!(matches!(nobody.check().await, Err(MailError::Temporary(_))));
    }
}
