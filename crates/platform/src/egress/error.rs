//! What can go wrong, in words for the tenant who chose the address.

use std::error::Error;

use super::address::NoPublicAddress;

/// Why an address is refused, or why no answer came.
///
/// The text (`Display`) may be shown to the tenant: it names nothing that they did not name, and is the same
/// for a name that does not exist as for one that leads inside, so that nobody can map our network by
/// asking. The source is for our log.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    #[error("the URL is malformed: {0}")]
    Malformed(#[from] url::ParseError),
    #[error("the URL is longer than {} characters", super::URL_BYTES_MAX)]
    TooLong,
    #[error("the URL must start with http:// or https://")]
    Scheme,
    #[error("the URL must not contain a user name or a password")]
    Credentials,
    #[error("port {0} is not one for HTTP")]
    Port(u16),
    /// `None` where the URL itself shows it, else what the resolver said.
    #[error("the host has no address on the public internet")]
    Forbidden(#[source] Option<reqwest::Error>),
    #[error("the host has no address on the public internet")]
    Dns(#[source] reqwest::Error),
    #[error("no connection could be made")]
    Connect(#[source] reqwest::Error),
    /// The reason is safe to show: only a permitted address gets as far as TLS.
    #[error("no secure connection could be made: {0}")]
    Tls(rustls::Error),
    #[error("no complete answer came in time")]
    Timeout,
    #[error("the connection broke, or the answer was not HTTP")]
    Other(#[source] reqwest::Error),
}

impl From<reqwest::Error> for EgressError {
    fn from(error: reqwest::Error) -> Self {
        // A tenant may have put a token into the URL: it must not reach our log.
        let error = error.without_url();

        if find_cause::<NoPublicAddress>(&error).is_some() {
            Self::Forbidden(Some(error))
        } else if error.is_dns() {
            Self::Dns(error)
        } else if error.is_timeout() {
            Self::Timeout
        } else if let Some(reason) = find_cause::<rustls::Error>(&error) {
            Self::Tls(reason.clone())
        } else if error.is_connect() {
            Self::Connect(error)
        } else {
            Self::Other(error)
        }
    }
}

/// The first cause of type `E`. An `io::Error` hides what it wraps from `source`, so it is looked into.
fn find_cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(cause) = next {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        let wrapped = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => cause.source(),
        };
    }
    None
}
