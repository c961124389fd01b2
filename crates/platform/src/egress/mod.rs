//! The only HTTP client that calls addresses which tenants choose. It reaches the public internet and
//! nothing else (P10). It does not sign ([`crate::signature`] does), and it does not try again.
//!
//! The address is checked where the connection is made: for a name in the connector's resolver, for a
//! literal address just before. Redirects are not followed and no proxy is used, since either would
//! connect to an address that nobody checked.

mod address;
mod error;
#[cfg(test)]
mod tests;

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::{DateTime, TimeDelta, Utc};
pub use ipnet::IpNet;
use reqwest::{
    Client,
    dns::Resolve,
    header::{HeaderMap, RETRY_AFTER},
    redirect,
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use url::{Host, Url};

use address::{AddressFilter, FilteringResolver, SystemResolver};
pub use error::EgressError;

/// Longer ones meet limits of receivers.
const URL_BYTES_MAX: usize = 2048;

/// Shorter than receivers wait (Node.js: 5 s): sending on a connection they just closed is a failed attempt.
const IDLE_CONNECTION: Duration = Duration::from_secs(3);

/// Twice the length of the longest form, an HTTP date.
const RETRY_AFTER_BYTES_MAX: usize = 64;

/// Ports of services that are not HTTP receivers, that act on text from strangers (mail, Redis), or that
/// hand out control of a machine (Docker, Kubernetes). Our server must not be the one that talks to them,
/// also not on somebody else's public address. Every other port is open.
const FORBIDDEN_PORTS: &[u16] = &[
    0,     // nothing
    7,     // echo
    9,     // discard
    11,    // systat
    13,    // daytime
    19,    // chargen
    20,    // FTP data
    21,    // FTP
    22,    // SSH
    23,    // Telnet
    25,    // SMTP
    53,    // DNS
    69,    // TFTP
    79,    // Finger
    110,   // POP3
    111,   // portmapper
    119,   // NNTP
    135,   // Windows RPC
    137,   // NetBIOS
    138,   // NetBIOS
    139,   // NetBIOS
    143,   // IMAP
    161,   // SNMP
    179,   // BGP
    389,   // LDAP
    445,   // SMB
    465,   // SMTP
    512,   // rexec
    513,   // rlogin
    514,   // rsh
    515,   // printers
    563,   // NNTP
    587,   // SMTP
    631,   // printers
    636,   // LDAP
    873,   // rsync
    993,   // IMAP
    995,   // POP3
    1433,  // SQL Server
    1521,  // Oracle
    2049,  // NFS
    2375,  // Docker
    2376,  // Docker
    2379,  // etcd
    2380,  // etcd
    2525,  // SMTP
    3306,  // MySQL
    3389,  // remote desktop
    5060,  // SIP
    5061,  // SIP
    5432,  // PostgreSQL
    5672,  // AMQP
    5900,  // VNC
    5985,  // WinRM
    5986,  // WinRM
    6379,  // Redis
    6667,  // IRC
    9042,  // Cassandra
    9092,  // Kafka
    9100,  // printers
    9200,  // Elasticsearch
    9300,  // Elasticsearch
    10250, // Kubernetes nodes
    11211, // memcached
    27017, // MongoDB
];

/// How to call tenants' addresses.
#[derive(Clone, Debug)]
pub struct EgressConfig {
    /// Ranges that are open although they are not public, e.g. `127.0.0.0/8` for tests.
    pub allow: Vec<IpNet>,
    /// For the whole exchange: resolving, connecting, sending, and reading the answer to its end.
    pub timeout: Duration,
    /// Reading stops here: the rest of the answer is not even received.
    pub answer_bytes_max: usize,
    pub user_agent: String,
}

impl Default for EgressConfig {
    fn default() -> Self {
        Self {
            allow: vec![],
            timeout: Duration::from_secs(15),
            answer_bytes_max: 64 * 1024,
            user_agent: concat!("Accrue/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// The client. Cheap to clone; make one, since idle connections are reused.
#[derive(Clone, Debug)]
pub struct Egress {
    client: Client,
    filter: AddressFilter,
    timeout: Duration,
    answer_bytes_max: usize,
}

/// What a receiver answered, of whatever status: what counts as success is the caller's rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// The header as it came, unless it is too long to mean anything; [`Answer::retry_at`] reads it.
    pub retry_after: Option<String>,
    /// At most `answer_bytes_max` bytes. U+FFFD replaces what is not UTF-8, and NUL, which PostgreSQL
    /// cannot store; a replacement may be longer than what it replaces.
    pub body: String,
    /// The body went on, and was not read further.
    pub truncated: bool,
    /// From before the name was resolved until the body was read.
    pub elapsed_ms: u64,
}

impl Answer {
    /// When the receiver wants to be called again, from `Retry-After` in either of its forms. It may be in
    /// the past or in a thousand years: the caller sets the bounds.
    pub fn retry_at(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let text = self.retry_after.as_deref()?.trim();
        match text.parse::<u32>() {
            Ok(seconds) => now.checked_add_signed(TimeDelta::seconds(seconds.into())),
            Err(_) => DateTime::parse_from_rfc2822(text).ok().map(|at| at.to_utc()),
        }
    }
}

impl Egress {
    /// Fails if `user_agent` is not the value of a header.
    ///
    /// Certificates are checked against Mozilla's roots, which are compiled in, with ring as the provider:
    /// neither the machine's certificate store nor a default provider is needed.
    pub fn try_new(config: EgressConfig) -> Result<Self, reqwest::Error> {
        let roots = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        Self::try_with(config, Arc::new(SystemResolver), roots)
    }

    fn try_with(
        config: EgressConfig,
        resolver: Arc<dyn Resolve>,
        roots: RootCertStore,
    ) -> Result<Self, reqwest::Error> {
        let EgressConfig { allow, timeout, answer_bytes_max, user_agent } = config;
        let filter = AddressFilter::new(allow);
        let client = Client::builder()
            .dns_resolver(FilteringResolver { inner: resolver, filter: filter.clone() })
            .tls_backend_preconfigured(tls(roots))
            .http1_only()
            .redirect(redirect::Policy::none())
            .no_proxy()
            // A small compressed answer may be a large one; receivers have nothing to say that needs it.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            // One call is one attempt: the delivery log must not lie.
            .retry(reqwest::retry::never())
            .pool_idle_timeout(IDLE_CONNECTION)
            .user_agent(user_agent)
            .build()?;
        Ok(Self { client, filter, timeout, answer_bytes_max })
    }

    /// The URL in its canonical spelling, if it may be called, as far as can be told without resolving it.
    ///
    /// For when a tenant enters it. [`Egress::post`] checks again, and checks what the name resolves to.
    pub fn check_url(&self, text: &str) -> Result<Url, EgressError> {
        if text.len() > URL_BYTES_MAX {
            return Err(EgressError::TooLong);
        }

        // Parsing turns every spelling of an IPv4 address (decimal, hex, octal, short, other scripts'
        // digits, trailing dot) into the four numbers that the connector would also see.
        let url = Url::parse(text)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EgressError::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(EgressError::Credentials);
        }
        if let Some(port) = url.port_or_known_default().filter(|port| FORBIDDEN_PORTS.contains(port)) {
            return Err(EgressError::Port(port));
        }

        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(address.into()),
            Some(Host::Ipv6(address)) => Some(address.into()),
            Some(Host::Domain(name)) if is_localhost(name) => Some(Ipv4Addr::LOCALHOST.into()),
            Some(Host::Domain(_)) | None => None,
        };
        if literal.is_some_and(|address| !self.filter.permits(address)) {
            return Err(EgressError::Forbidden(None));
        }
        Ok(url)
    }

    /// Sends `body` once and reads the answer.
    pub async fn post(&self, url: &str, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, EgressError> {
        let url = self.check_url(url)?;
        tokio::time::timeout(self.timeout, self.exchange(url, headers, body))
            .await
            .unwrap_or(Err(EgressError::Timeout))
    }

    async fn exchange(&self, url: Url, headers: HeaderMap, body: Vec<u8>) -> Result<Answer, EgressError> {
        let started = Instant::now();
        let mut response = self.client.post(url).headers(headers).body(body).send().await?;

        let mut received = Vec::new();
        while received.len() <= self.answer_bytes_max
            && let Some(chunk) = response.chunk().await?
        {
            received.extend_from_slice(&chunk);
        }
        let truncated = received.len() > self.answer_bytes_max;
        received.truncate(self.answer_bytes_max);

        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: response.status().as_u16(),
            retry_after: retry_after.filter(|text| text.len() <= RETRY_AFTER_BYTES_MAX).map(str::to_owned),
            body: String::from_utf8_lossy(&received).replace('\0', "\u{fffd}"),
            truncated,
            elapsed_ms: started.elapsed().as_millis().try_into().unwrap_or(u64::MAX),
        })
    }
}

/// RFC 6761: these names mean this machine, whatever a resolver says.
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.');
    name == "localhost" || name.ends_with(".localhost")
}

fn tls(roots: RootCertStore) -> ClientConfig {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks every version that is safe")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
