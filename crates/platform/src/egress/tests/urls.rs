//! Which URLs are refused before anything is resolved.

use super::*;

/// Spellings of forbidden addresses, with `PORT` for that of the canary.
const FORBIDDEN_URLS: &[&str] = &[
    "http://127.0.0.1:PORT/",
    "https://127.0.0.1:PORT/",
    "HTTP://127.0.0.1:PORT/",
    "http://127.0.0.1.:PORT/",
    "http://127.1:PORT/",
    "http://127.0.1:PORT/",
    "http://127.255.255.254:PORT/",
    "http://2130706433:PORT/",
    "http://017700000001:PORT/",
    "http://0x7f000001:PORT/",
    "http://0X7F.1:PORT/",
    "http://0177.0.0.1:PORT/",
    "http://0177.0x0.00.01:PORT/",
    "http://127.0.0.1%2e:PORT/",
    "http://%31%32%37.0.0.1:PORT/",
    "http://127%2E0%2E0%2E1:PORT/",
    "http://127。0。0。1:PORT/",
    "http://１２７．０．０．１:PORT/",
    "http://①②⑦.⓪.⓪.①:PORT/",
    "http://𝟙𝟚𝟟.0.0.1:PORT/",
    "http://12\u{00ad}7.0.0.1:PORT/",
    "http:127.0.0.1:PORT/",
    "http:/127.0.0.1:PORT/",
    "http:///127.0.0.1:PORT/",
    "http:\\\\127.0.0.1:PORT\\",
    " http://127.0.0.1:PORT/ ",
    "http://127.0.\n0.1:PORT/",
    "ht\ttp://127.0.0.1:PORT/",
    "http://@127.0.0.1:PORT/",
    "http://127.0.0.1:PORT#@example.com/",
    "http://127.0.0.1:PORT?@example.com/",
    "http://127.0.0.1:PORT\\@example.com/",
    "http://localhost:PORT/",
    "http://LOCALHOST:PORT/",
    "http://localhost.:PORT/",
    "http://a.localhost:PORT/",
    "http://ⓛocalhost:PORT/",
    "http://0:PORT/",
    "http://0.0.0.0:PORT/",
    "http://0x0:PORT/",
    "http://[::]:PORT/",
    "http://[::1]:PORT/",
    "http://[0:0:0:0:0:0:0:1]:PORT/",
    "http://[::ffff:127.0.0.1]:PORT/",
    "http://[::ffff:7f00:1]:PORT/",
    "http://[0:0:0:0:0:ffff:7f00:0001]:PORT/",
    "http://[::127.0.0.1]:PORT/",
    "http://[64:ff9b::7f00:1]:PORT/",
    "http://[64:ff9b::127.0.0.1]:PORT/",
    "http://[2002:7f00:1::]:PORT/",
    "http://[fe80::1]:PORT/",
    "http://[fc00::1]/",
    "http://[ff02::1]/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0xA9.0xFE.0xA9.0xFE/",
    "http://0251.0376.0251.0376/",
    "http://169.254.43518/",
    "http://169.254.170.2/v2/credentials",
    "http://100.100.100.200/",
    "http://100.64.0.1/",
    "http://168.63.129.16/machine",
    "http://192.0.0.192/",
    "http://10.0.0.1/",
    "http://167772161/",
    "http://012.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.0.1/",
    "http://192.168.257/",
    "http://198.18.0.1/",
    "http://203.0.113.7/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://4294967295/",
];

/// Refused whatever the address, also where the allow-list opens it.
const UNACCEPTABLE_URLS: &[&str] = &[
    "",
    "127.0.0.1",
    "//127.0.0.1/",
    "http://",
    "http://[fe80::1%25eth0]/",
    "http://[fe80::1%eth0]/",
    "http://[::1/",
    "http://::1/",
    "http://256.0.0.1/",
    "http://4294967296/",
    "http://0x100000000/",
    "http://1.2.3.4.5/",
    "http://127.0.0.1:65536/",
    "http://127.0.0.1%00.example.com/",
    "http://127.0.0.1 .example.com/",
    "ftp://127.0.0.1/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "ws://127.0.0.1/",
    "unix:/run/docker.sock",
    "javascript:alert(1)",
    "data:text/plain,hi",
    "http://user@127.0.0.1/",
    "http://user:word@127.0.0.1/",
    "http://:word@127.0.0.1/",
    "http://169.254.169.254@127.0.0.1/",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:22/",
    "http://127.0.0.1:25/",
    "https://127.0.0.1:6379/",
    "https://127.0.0.1:0000006379/",
];

#[tokio::test]
async fn no_spelling_of_a_forbidden_address_is_accepted_or_called() {
    assert!(FORBIDDEN_URLS.len() >= 60);
    let canary = Receiver::answering(OK);
    let egress = Egress::try_new(config(&[])).unwrap();

    for url in FORBIDDEN_URLS {
        let url = url.replace("PORT", &canary.address.port().to_string());
        let at_creation = egress.check_url(&url);
        assert!(matches!(at_creation, Err(EgressError::Forbidden(None))), "{url}: {at_creation:?}");
        let at_sending = post(&egress, &url).await;
        assert!(matches!(at_sending, Err(EgressError::Forbidden(None))), "{url}: {at_sending:?}");
    }
    assert_eq!(canary.connections(), 0);
}

#[tokio::test]
async fn what_is_no_plain_http_url_is_refused_although_its_address_is_allowed() {
    let egress = local();
    for url in UNACCEPTABLE_URLS {
        assert!(egress.check_url(url).is_err(), "{url}");
        assert!(post(&egress, url).await.is_err(), "{url}");
    }
    let long = format!("http://example.com/{}", "a".repeat(URL_BYTES_MAX));
    assert!(matches!(egress.check_url(&long), Err(EgressError::TooLong)));
}

#[test]
fn each_refusal_has_its_own_reason() {
    let refuse = |url| local().check_url(url).unwrap_err();
    assert!(matches!(refuse("http://[::1/"), EgressError::Malformed(_)));
    assert!(matches!(refuse("ftp://example.com/"), EgressError::Scheme));
    assert!(matches!(refuse("https://user@example.com/"), EgressError::Credentials));
    assert!(matches!(refuse("https://example.com:25/"), EgressError::Port(25)));
    assert!(matches!(refuse("https://10.0.0.1/"), EgressError::Forbidden(None)));
    assert!(FORBIDDEN_PORTS.is_sorted(), "so that a reader finds a port");
}

#[test]
fn ordinary_urls_are_accepted_in_their_canonical_spelling() {
    let egress = Egress::try_new(config(&[])).unwrap();
    let cases = [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM:443/a?b=c", "https://example.com/a?b=c"),
        ("http://example.com:8080/hooks", "http://example.com:8080/hooks"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://1.1.1.1/", "https://1.1.1.1/"),
        ("https://[2606:4700:4700::1111]/", "https://[2606:4700:4700::1111]/"),
        ("https://localhost.example.com/", "https://localhost.example.com/"),
    ];
    for (text, canonical) in cases {
        assert_eq!(egress.check_url(text).unwrap().as_str(), canonical);
    }
}
