//! Which addresses we may connect to, and the resolver that returns no others.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// What in IPv4 is not the public internet (IANA's special-purpose registry), or is dangerous to reach.
const FORBIDDEN_V4: [Ipv4Net; 15] = [
    v4([0, 0, 0, 0], 8),        // this network
    v4([10, 0, 0, 0], 8),       // private
    v4([100, 64, 0, 0], 10),    // carrier-grade NAT; Alibaba's metadata, 100.100.100.200
    v4([127, 0, 0, 0], 8),      // loopback
    v4([168, 63, 129, 16], 32), // Azure's metadata: a public address that only its own machines reach
    v4([169, 254, 0, 0], 16),   // link-local; metadata of most clouds, 169.254.169.254 and 169.254.170.2
    v4([172, 16, 0, 0], 12),    // private
    v4([192, 0, 0, 0], 24),     // protocol assignments; Oracle's metadata, 192.0.0.192
    v4([192, 0, 2, 0], 24),     // documentation
    v4([192, 88, 99, 0], 24),   // relays of 6to4
    v4([192, 168, 0, 0], 16),   // private
    v4([198, 18, 0, 0], 15),    // benchmarks
    v4([198, 51, 100, 0], 24),  // documentation
    v4([203, 0, 113, 0], 24),   // documentation
    v4([224, 0, 0, 0], 3),      // multicast, reserved, broadcast
];

/// The part of IPv6 that is the public internet. Loopback, v4-mapped, NAT64, discard, unique-local
/// (AWS's metadata, `fd00:ec2::254`), link-local, segment routing and multicast all lie outside.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0], 3);

/// What inside [`GLOBAL_V6`] is not the public internet.
const FORBIDDEN_V6: [Ipv6Net; 5] = [
    v6([0x2001, 0, 0], 23),         // protocol assignments; Teredo, which carries IPv4
    v6([0x2001, 0xdb8, 0], 32),     // documentation
    v6([0x2002, 0, 0], 16),         // 6to4, which carries IPv4
    v6([0x2620, 0x4f, 0x8000], 48), // delegated to nobody (AS112)
    v6([0x3fff, 0, 0], 20),         // documentation
];

const fn v4([a, b, c, d]: [u8; 4], prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix)
}

const fn v6([a, b, c]: [u16; 3], prefix: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), prefix)
}

/// Public addresses, and those that the configuration opens.
#[derive(Clone, Debug)]
pub(super) struct AddressFilter {
    allow: Arc<[IpNet]>,
}

impl AddressFilter {
    pub(super) fn new(allow: Vec<IpNet>) -> Self {
        Self { allow: allow.into() }
    }

    pub(super) fn permits(&self, address: IpAddr) -> bool {
        is_public(address) || self.allow.iter().any(|net| net.contains(&address))
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !FORBIDDEN_V4.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            GLOBAL_V6.contains(&address) && !FORBIDDEN_V6.iter().any(|net| net.contains(&address))
        }
    }
}

/// A name was resolved, but to no address that we may connect to.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` resolves to forbidden addresses only: {refused:?}")]
pub(super) struct NoPublicAddress {
    name: String,
    refused: Vec<IpAddr>,
}

/// Asks `inner` and keeps what the filter permits.
///
/// The connector connects to what this returns and looks nothing up again, so that a name whose answer
/// changes between a check and the connection (DNS rebinding) gains nothing.
pub(super) struct FilteringResolver {
    pub(super) inner: Arc<dyn Resolve>,
    pub(super) filter: AddressFilter,
}

impl Resolve for FilteringResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let filter = self.filter.clone();
        let text = name.as_str().to_owned();
        let answer = self.inner.resolve(name);
        Box::pin(async move {
            let (permitted, refused): (Vec<SocketAddr>, Vec<SocketAddr>) =
                answer.await?.partition(|address| filter.permits(address.ip()));
            if permitted.is_empty() {
                let refused = refused.iter().map(SocketAddr::ip).collect();
                return Err(NoPublicAddress { name: text, refused }.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

/// The operating system's resolver.
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The connector replaces port 0 by the URL's.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            Ok(Box::new(found.collect::<Vec<_>>().into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORBIDDEN: &[&str] = &[
        "0.0.0.0",
        "0.255.255.255",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.255",
        "168.63.129.16",
        "169.254.0.0",
        "169.254.169.254",
        "169.254.170.2",
        "169.254.255.255",
        "172.16.0.0",
        "172.31.255.255",
        "192.0.0.0",
        "192.0.0.192",
        "192.0.0.255",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.0",
        "192.168.255.255",
        "198.18.0.0",
        "198.19.255.255",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.0",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:8.8.8.8",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::808:808",
        "64:ff9b:1::1",
        "100::1",
        "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001::1",
        "2001:0:7f00:1::",
        "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
        "2001:db8::1",
        "2002::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "2620:4f:8000::1",
        "3fff::1",
        "3fff:fff:ffff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "fe80::1",
        "febf::1",
        "fec0::1",
        "ff02::1",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    ];

    /// Among them the neighbours of the forbidden ranges.
    const PUBLIC: &[&str] = &[
        "1.0.0.0",
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.0",
        "168.63.129.15",
        "168.63.129.17",
        "169.253.255.255",
        "169.255.0.0",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.0.3.0",
        "192.88.98.255",
        "192.88.100.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "198.51.99.255",
        "203.0.114.0",
        "223.255.255.255",
        "2001:200::1",
        "2001:4860:4860::8888",
        "2003::1",
        "2606:4700:4700::1111",
        "2a00:1450:4001::1",
    ];

    fn addresses(texts: &[&str]) -> impl Iterator<Item = IpAddr> {
        texts.iter().map(|text| text.parse().unwrap())
    }

    #[test]
    fn only_addresses_of_the_public_internet_are_permitted() {
        let filter = AddressFilter::new(vec![]);
        let reached: Vec<_> = addresses(FORBIDDEN).filter(|address| filter.permits(*address)).collect();
        assert!(reached.is_empty(), "permitted: {reached:?}");
        let missed: Vec<_> = addresses(PUBLIC).filter(|address| !filter.permits(*address)).collect();
        assert!(missed.is_empty(), "forbidden: {missed:?}");
    }

    #[test]
    fn the_allow_list_opens_its_own_ranges_and_no_others() {
        let filter = AddressFilter::new(vec!["127.0.0.0/8".parse().unwrap(), "fd00:5::/64".parse().unwrap()]);
        for opened in addresses(&["127.0.0.1", "127.9.9.9", "fd00:5::1"]) {
            assert!(filter.permits(opened), "{opened}");
        }
        for closed in addresses(&["10.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "fd00:6::1"]) {
            assert!(!filter.permits(closed), "{closed}");
        }
    }

    struct Answer(Vec<SocketAddr>);

    impl Resolve for Answer {
        fn resolve(&self, _: Name) -> Resolving {
            let addresses = self.0.clone();
            Box::pin(async { Ok(Box::new(addresses.into_iter()) as Addrs) })
        }
    }

    async fn filtered(
        answer: Vec<SocketAddr>,
    ) -> Result<Vec<IpAddr>, Box<dyn std::error::Error + Send + Sync>> {
        let resolver =
            FilteringResolver { inner: Arc::new(Answer(answer)), filter: AddressFilter::new(vec![]) };
        let found = resolver.resolve("receiver.example".parse().unwrap()).await?;
        Ok(found.map(|address| address.ip()).collect())
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_a_forbidden_address_is_refused() {
        for address in addresses(FORBIDDEN) {
            let error = filtered(vec![SocketAddr::new(address, 0)]).await.unwrap_err();
            assert!(error.is::<NoPublicAddress>(), "{address}: {error}");
        }
    }

    #[tokio::test]
    async fn of_a_mixed_answer_only_the_public_addresses_are_returned() {
        let mixed = ["10.0.0.1", "1.1.1.1", "::1", "2606:4700:4700::1111", "127.0.0.1"];
        let answer = addresses(&mixed).map(|address| SocketAddr::new(address, 0)).collect();
        let expected: Vec<_> = addresses(&["1.1.1.1", "2606:4700:4700::1111"]).collect();
        assert_eq!(filtered(answer).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_name_without_any_address_is_refused() {
        assert!(filtered(vec![]).await.unwrap_err().is::<NoPublicAddress>());
    }
}
