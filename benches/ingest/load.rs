//! A light sender: HTTP/1.1 over connections that are kept, on a thread of its own. It asks for nothing that would
//! cost the measured server more than it must do.

use std::{
    io::Write,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Digits of the number in which each event's `event_id` ends.
const DIGITS: usize = 12;

/// What is sent, and for how long.
#[derive(Clone)]
pub struct Load {
    pub address: SocketAddr,
    pub key: String,
    /// Each has one request in flight.
    pub connections: usize,
    pub events_each: usize,
    pub seconds: u64,
    /// Customers of whom a request holds events, of [`CUSTOMERS`].
    pub customers_each: usize,
    /// When the events happened.
    pub at: String,
}

/// Named `customer-0`, `customer-1` and so on.
pub const CUSTOMERS: usize = 1000;

/// The customer of whom a connection sends single events. They are spread as traffic is: the second customer has half as
/// many as the first, the third a third.
fn payer_of(connection: usize) -> usize {
    const WHOLE: usize = 1_000_000;
    let shares = || (1..=CUSTOMERS).map(|customer| WHOLE / customer);
    let place = shares().sum::<usize>() / CUSTOMERS * (connection % CUSTOMERS);
    let ends = shares().scan(0, |end, share| {
        *end += share;
        Some(*end)
    });
    ends.take_while(|end| *end <= place).count()
}

/// What came of a load.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    pub events_per_second: u64,
    pub median: Duration,
    pub p99: Duration,
}

/// A request whose events get new names each time.
struct Template {
    request: Vec<u8>,
    /// Where the digits of each event's name begin.
    names: Vec<usize>,
}

impl Template {
    fn new(load: &Load, connection: usize) -> Self {
        let (mut body, mut names) = (String::from("["), Vec::new());
        for index in 0..load.events_each {
            let customer = match load.customers_each {
                1 => payer_of(connection),
                several => (connection * several + index % several) % CUSTOMERS,
            };
            body.push_str(if index == 0 { r#"{"event_id":"request-"# } else { r#",{"event_id":"request-"# });
            names.push(body.len());
            body.push_str(&"0".repeat(DIGITS));
            let tokens = 100 + (connection * 31 + index * 7) % 900;
            let rest = format!(
                r#"","customer_id":"customer-{customer}","event_name":"api.request.completed","timestamp":"{}","metadata":{{"tokens":{tokens},"model":"pro","region":"eu-central-1"}}}}"#,
                load.at
            );
            body.push_str(&rest);
        }
        body.push(']');
        if load.events_each == 1 {
            body = body.drain(1..body.len() - 1).collect();
            names[0] -= 1;
        }
        let head = format!(
            "POST /v1/usage_events HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            load.address,
            load.key,
            body.len()
        );
        for name in &mut names {
            *name += head.len();
        }
        Self { request: [head.into_bytes(), body.into_bytes()].concat(), names }
    }

    fn rename(&mut self, first: u64) -> Result<()> {
        for (number, name) in (first..).zip(&self.names) {
            write!(&mut self.request[*name..*name + DIGITS], "{number:0DIGITS$}")?;
        }
        Ok(())
    }
}

/// Counts the names that were given out, so that no event is sent twice.
static NAMES: AtomicU64 = AtomicU64::new(0);

struct Tally {
    /// Events that were acknowledged within the measured time.
    events: AtomicU64,
    measures_from: Instant,
    ends: Instant,
}

/// Sends for a while; the first fifth of the time is for warming up.
pub fn send(load: &Load) -> Result<Measured> {
    let load = load.clone();
    let sender = thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(send_all(load))
    });
    sender.join().map_err(|_| anyhow!("the sender panicked"))?
}

async fn send_all(load: Load) -> Result<Measured> {
    let started = Instant::now();
    let time = Duration::from_secs(load.seconds);
    let tally = Arc::new(Tally {
        events: AtomicU64::new(0),
        measures_from: started + time / 5,
        ends: started + time,
    });
    let senders: Vec<_> = (0..load.connections)
        .map(|connection| {
            let template = Template::new(&load, connection);
            tokio::spawn(send_one_by_one(load.address, template, tally.clone()))
        })
        .collect();
    let mut latencies = Vec::new();
    for sender in senders {
        latencies.extend(sender.await??);
    }
    latencies.sort_unstable();
    let measured = tally.ends - tally.measures_from;
    let at =
        |percent: usize| latencies.get((latencies.len() * percent / 100).min(latencies.len() - 1)).copied();
    let nothing = "nothing was answered";
    Ok(Measured {
        events_per_second: tally.events.load(Ordering::Relaxed) * 1000 / u64::try_from(measured.as_millis())?,
        median: at(50).context(nothing)?,
        p99: at(99).context(nothing)?,
    })
}

/// The latencies of those requests that were answered within the measured time.
async fn send_one_by_one(
    address: SocketAddr,
    mut template: Template,
    tally: Arc<Tally>,
) -> Result<Vec<Duration>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let events = template.names.len() as u64;
    let (mut answer, mut latencies) = (Vec::with_capacity(4096), Vec::new());
    loop {
        template.rename(NAMES.fetch_add(events, Ordering::Relaxed))?;
        let sent = Instant::now();
        if sent > tally.ends {
            return Ok(latencies);
        }
        stream.write_all(&template.request).await?;
        receive(&mut stream, &mut answer).await?;
        let answered = Instant::now();
        let expected = format!(r#""accepted":{events}"#);
        let text = String::from_utf8_lossy(&answer);
        ensure!(text.starts_with("HTTP/1.1 200") && text.contains(&expected), "an answer of {text}");
        if answered > tally.measures_from && answered <= tally.ends {
            tally.events.fetch_add(events, Ordering::Relaxed);
            latencies.push(answered - sent);
        }
    }
}

/// Reads one answer, head and body.
async fn receive(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<()> {
    const LENGTH: &[u8] = b"content-length: ";
    answer.clear();
    loop {
        ensure!(stream.read_buf(answer).await? > 0, "the server hung up");
        let Some(head) = find(answer, b"\r\n\r\n") else { continue };
        let start = find(&answer[..head], LENGTH).context("an answer without a length")? + LENGTH.len();
        let digits = answer[start..].iter().take_while(|byte| byte.is_ascii_digit());
        let length = digits.fold(0, |number, digit| number * 10 + usize::from(digit - b'0'));
        if answer.len() >= head + 4 + length {
            return Ok(());
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// One small request whose answer is wanted; for preparing and for reading.
pub async fn ask(stream: &mut TcpStream, key: &str, method: &str, path: &str, body: &str) -> Result<String> {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    receive(stream, &mut answer).await?;
    let text = String::from_utf8(answer)?;
    ensure!(text.starts_with("HTTP/1.1 2"), "{method} {path}: {text}");
    let (_, body) = text.split_once("\r\n\r\n").context("an answer without a body")?;
    Ok(body.to_owned())
}
