//! Calls receivers on this machine, which the allow-list opens, and canaries, which nobody may reach.

mod urls;

use std::{
    collections::VecDeque,
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use reqwest::dns::{Addrs, Name, Resolving};
use rustls::{ServerConfig, ServerConnection, pki_types::PrivateKeyDer};

use super::*;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";

/// A receiver on this machine that counts who connects. Its thread ends with the tests.
struct Receiver {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    fn start(respond: impl Fn(&mut TcpStream) -> io::Result<()> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let requests = Arc::new(Mutex::new(vec![]));

        let (counter, seen) = (Arc::clone(&connections), Arc::clone(&requests));
        thread::spawn(move || {
            for stream in listener.incoming() {
                counter.fetch_add(1, Ordering::SeqCst);
                let mut stream = stream.unwrap();
                seen.lock().unwrap().push(read_request(&mut stream));
                // The client may hang up whenever it likes.
                let _ = respond(&mut stream);
            }
        });
        Self { address, connections, requests }
    }

    fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer = answer.into();
        Self::start(move |stream| stream.write_all(&answer))
    }

    fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Every request of these tests ends with `{}`, except that TLS is none.
fn read_request(stream: &mut TcpStream) -> String {
    let mut received = vec![];
    let mut buffer = [0; 4096];
    while !received.ends_with(b"{}") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => received.extend_from_slice(&buffer[..length]),
        }
        if !received.starts_with(b"P") {
            break;
        }
    }
    String::from_utf8_lossy(&received).into_owned()
}

/// Gives each of its answers once, the last one for ever.
struct Script(Mutex<VecDeque<Vec<IpAddr>>>);

impl Script {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let parse = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(answers.iter().map(parse).collect())))
    }
}

impl Resolve for Script {
    fn resolve(&self, _: Name) -> Resolving {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        Box::pin(async move {
            let found = answer.ok_or_else(|| io::Error::new(ErrorKind::NotFound, "no such name"))?;
            Ok(Box::new(found.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

fn config(allow: &[&str]) -> EgressConfig {
    let allow = allow.iter().map(|net| net.parse().unwrap()).collect();
    EgressConfig { allow, timeout: Duration::from_secs(5), ..EgressConfig::default() }
}

/// Allows this machine, as developers and other tests do.
fn local() -> Egress {
    Egress::try_new(config(&["127.0.0.0/8"])).unwrap()
}

fn with_resolver(allow: &[&str], answers: &[&[&str]]) -> Egress {
    Egress::try_with(config(allow), Script::new(answers), RootCertStore::empty()).unwrap()
}

async fn post(egress: &Egress, url: &str) -> Result<Answer, EgressError> {
    egress.post(url, HeaderMap::new(), b"{}".to_vec()).await
}

#[tokio::test]
async fn an_allowed_address_receives_what_was_sent_and_its_answer_is_returned() {
    let receiver = Receiver::answering(
        "HTTP/1.1 503 Busy\r\nretry-after: 120\r\ncontent-length: 4\r\nconnection: close\r\n\r\nno\0\u{1}",
    );
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", "msg_1".parse().unwrap());

    let answer = local().post(&receiver.url(), headers, b"{}".to_vec()).await.unwrap();

    assert_eq!((answer.status, answer.body.as_str(), answer.truncated), (503, "no\u{fffd}\u{1}", false));
    assert_eq!(answer.retry_after.as_deref(), Some("120"));
    let requests = receiver.requests.lock().unwrap();
    let request = &requests[0];
    assert!(request.starts_with("POST /hooks HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("webhook-id: msg_1\r\n"), "{request}");
    assert!(request.contains("user-agent: Accrue/"), "{request}");
    assert!(request.ends_with("\r\n\r\n{}"), "{request}");
    assert!(!request.contains("accept-encoding"), "{request}");
}

#[tokio::test]
async fn a_name_that_leads_inside_is_refused_and_the_error_tells_nothing_about_it() {
    let canary = Receiver::answering(OK);
    let url = format!("http://receiver.example:{}/", canary.address.port());

    let inside = post(&with_resolver(&[], &[&["127.0.0.1", "10.1.2.3"]]), &url).await.unwrap_err();
    let nowhere = post(&with_resolver(&[], &[]), &url).await.unwrap_err();

    assert!(matches!(inside, EgressError::Forbidden(Some(_))), "{inside:?}");
    assert!(matches!(nowhere, EgressError::Dns(_)), "{nowhere:?}");
    assert_eq!(inside.to_string(), nowhere.to_string());
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn the_systems_resolver_is_filtered_too() {
    let canary = Receiver::answering(OK);
    let filter = AddressFilter::new(vec![]);
    let resolver = FilteringResolver { inner: Arc::new(SystemResolver), filter };
    assert!(resolver.resolve("localhost".parse().unwrap()).await.is_err());

    let url = format!("http://localhost:{}/", canary.address.port());
    let answer = post(&local(), &url).await.unwrap();
    assert_eq!((answer.status, canary.connections()), (200, 1), "allowed, the same name is called");
}

/// `127.0.0.2`, which is allowed, plays the public address; nobody listens there.
#[tokio::test]
async fn a_name_whose_answer_changes_does_not_lead_inside() {
    let canary = Receiver::answering(OK);
    let url = format!("http://rebinding.example:{}/", canary.address.port());
    let egress = with_resolver(&["127.0.0.2/32"], &[&["127.0.0.2"], &["127.0.0.1"]]);

    let first = post(&egress, &url).await.unwrap_err();
    let second = post(&egress, &url).await.unwrap_err();

    assert!(matches!(first, EgressError::Connect(_)), "{first:?}");
    assert!(matches!(second, EgressError::Forbidden(Some(_))), "{second:?}");
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn when_the_public_address_fails_the_connector_does_not_fall_back_to_an_inner_one() {
    let canary = Receiver::answering(OK);
    let url = format!("http://mixed.example:{}/", canary.address.port());
    let egress = with_resolver(&["127.0.0.2/32"], &[&["127.0.0.2", "127.0.0.1"]]);

    let error = post(&egress, &url).await.unwrap_err();

    assert!(matches!(error, EgressError::Connect(_)), "{error:?}");
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let canary = Receiver::answering(OK);
    for status in [301, 302, 303, 307, 308] {
        let location = canary.url();
        let receiver = Receiver::answering(format!(
            "HTTP/1.1 {status} Moved\r\nlocation: {location}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        ));
        assert_eq!(post(&local(), &receiver.url()).await.unwrap().status, status);
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn an_endless_answer_is_cut_at_64_kib() {
    let receiver = Receiver::start(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
        loop {
            stream.write_all(&[b'a'; 1000])?;
        }
    });
    let answer = post(&local(), &receiver.url()).await.unwrap();
    assert_eq!((answer.status, answer.truncated, answer.body.len()), (200, true, 65_536));
    assert!(answer.body.bytes().all(|byte| byte == b'a'));
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_is_whole() {
    let receiver = |length: usize| {
        let body = "a".repeat(length);
        Receiver::answering(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"))
    };
    let whole = post(&local(), &receiver(65_536).url()).await.unwrap();
    assert_eq!((whole.truncated, whole.body.len()), (false, 65_536));
    let cut = post(&local(), &receiver(65_537).url()).await.unwrap();
    assert_eq!((cut.truncated, cut.body.len()), (true, 65_536));
}

#[tokio::test]
async fn a_receiver_that_is_silent_or_drips_is_left_when_the_time_is_up() {
    let timeout = Duration::from_millis(300);
    let egress = Egress::try_new(EgressConfig { timeout, ..config(&["127.0.0.0/8"]) }).unwrap();
    let silent = Receiver::start(|stream| stream.read(&mut [0]).map(drop));
    let drip = |start: &'static str| {
        Receiver::start(move |stream| {
            stream.write_all(start.as_bytes())?;
            loop {
                stream.write_all(b"a")?;
                thread::sleep(Duration::from_millis(20));
            }
        })
    };

    for receiver in [silent, drip("HTTP/1.1 200 OK\r\nx: "), drip("HTTP/1.1 200 OK\r\n\r\n")] {
        let started = Instant::now();
        let error = post(&egress, &receiver.url()).await.unwrap_err();
        assert!(matches!(error, EgressError::Timeout), "{error:?}");
        assert!((timeout..timeout * 5).contains(&started.elapsed()), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn what_is_not_http_is_an_error() {
    for garbage in ["", "SSH-2.0-OpenSSH_9.6\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"] {
        let error = post(&local(), &Receiver::answering(garbage).url()).await.unwrap_err();
        assert!(matches!(error, EgressError::Other(_)), "{garbage}: {error:?}");
    }
}

#[tokio::test]
async fn no_error_repeats_the_url_or_an_address() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = post(&local(), &format!("http://{closed}/?token=canary")).await.unwrap_err();
    assert!(matches!(error, EgressError::Connect(_)), "{error:?}");
    assert_eq!(error.to_string(), "no connection could be made");
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
}

/// Serves one HTTPS answer with a certificate for `receiver.example`, and returns the root that vouches for it.
fn https_receiver() -> (Receiver, RootCertStore) {
    let made = rcgen::generate_simple_self_signed(["receiver.example".to_owned()]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();

    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(Mutex::new(vec![]));
    let seen = Arc::clone(&requests);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = stream.unwrap();
            let mut tls = rustls::Stream::new(&mut connection, &mut stream);
            let mut buffer = [0; 4096];
            // A client that does not trust the certificate hangs up: then nothing was read.
            let Ok(length) = tls.read(&mut buffer) else { continue };
            seen.lock().unwrap().push(String::from_utf8_lossy(&buffer[..length]).into_owned());
            let _ = tls.write_all(OK.as_bytes());
            tls.conn.send_close_notify();
            let _ = tls.flush();
        }
    });
    (Receiver { address, connections: Arc::default(), requests }, roots)
}

#[tokio::test]
async fn a_certificate_must_be_trusted_and_be_for_the_name_that_was_called() {
    let (receiver, roots) = https_receiver();
    let port = receiver.address.port();
    let trusting =
        |roots| Egress::try_with(config(&["127.0.0.0/8"]), Script::new(&[&["127.0.0.1"]]), roots).unwrap();
    let right_name = format!("https://receiver.example:{port}/");
    let wrong_name = format!("https://other.example:{port}/");
    let mozilla = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();

    let untrusted = post(&trusting(mozilla), &right_name).await.unwrap_err();
    assert!(matches!(untrusted, EgressError::Tls(rustls::Error::InvalidCertificate(_))), "{untrusted:?}");
    let misnamed = post(&trusting(roots.clone()), &wrong_name).await.unwrap_err();
    assert!(matches!(misnamed, EgressError::Tls(rustls::Error::InvalidCertificate(_))), "{misnamed:?}");
    assert_eq!(receiver.requests.lock().unwrap().len(), 0, "nothing was sent to either");

    assert_eq!(post(&trusting(roots), &right_name).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_receiver_without_tls_cannot_be_called_by_https() {
    let receiver = Receiver::start(|stream| stream.write_all(OK.as_bytes()));
    let error = post(&local(), &receiver.url().replace("http", "https")).await.unwrap_err();
    assert!(matches!(error, EgressError::Tls(_)), "{error:?}");
}

/// The environment of a process cannot be changed safely while it runs, so a second one is started.
#[test]
fn a_proxy_in_the_environment_is_not_used() {
    let proxy = Receiver::answering(OK);
    let status = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "egress::tests::posts_directly_although_the_environment_names_a_proxy",
        ])
        .envs(["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"].map(|name| (name, proxy.url())))
        .env("NO_PROXY", "")
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&status.stdout).contains("1 passed"), "{status:?}");
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
#[ignore = "run by the test above, with a proxy in the environment"]
async fn posts_directly_although_the_environment_names_a_proxy() {
    let receiver = Receiver::answering(OK);
    assert_eq!(post(&local(), &receiver.url()).await.unwrap().status, 200);
    assert_eq!(receiver.connections(), 1);
}

#[test]
fn retry_after_is_read_in_seconds_and_as_a_date() {
    let now: DateTime<Utc> = "2026-01-31T10:00:00Z".parse().unwrap();
    let retry_at = |text: &str| {
        let retry_after = Some(text.to_owned());
        Answer { status: 429, retry_after, body: String::new(), truncated: false, elapsed_ms: 1 }
            .retry_at(now)
    };
    assert_eq!(retry_at("0"), Some(now));
    assert_eq!(retry_at(" 120 "), Some(now + TimeDelta::minutes(2)));
    assert_eq!(retry_at("Sat, 31 Jan 2026 10:30:00 GMT"), Some(now + TimeDelta::minutes(30)));
    for nonsense in ["", "soon", "-1", "1.5", "99999999999999999999", "31 Feb 2026"] {
        assert_eq!(retry_at(nonsense), None, "{nonsense}");
    }
}
