//! To which addresses a webhook may connect.
//!
//! The ranges are those of IANA's registries of special-purpose addresses for IPv4 and IPv6 (RFC 6890 and later).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which addresses are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Those that are routed globally.
    Global,
    /// Also those of private networks and of this machine.
    Private,
    /// Those of this machine alone, for plain HTTP.
    Loopback,
}

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Global,
    /// A private network, or a network of a provider.
    Private,
    Loopback,
    /// Link-local addresses, among them those of metadata services, multicast, and what is reserved.
    Special,
}

impl Reach {
    pub(super) fn allows(self, address: IpAddr) -> bool {
        match (self, scope(address)) {
            (Self::Global | Self::Private, Scope::Global)
            | (Self::Private, Scope::Private | Scope::Loopback)
            | (Self::Loopback, Scope::Loopback) => true,
            (_, Scope::Special)
            | (Self::Global, Scope::Private | Scope::Loopback)
            | (Self::Loopback, Scope::Global | Scope::Private) => false,
        }
    }
}

fn scope(address: IpAddr) -> Scope {
    match address {
        IpAddr::V4(address) => scope_v4(address),
        IpAddr::V6(address) => scope_v6(address),
    }
}

fn scope_v4(address: Ipv4Addr) -> Scope {
    match address.octets() {
        // Services of a cloud for its machines: the agent of Azure, and the metadata of Alibaba.
        [168, 63, 129, 16] | [100, 100, 100, 200]
        // "This network"; multicast, and what is reserved, up to the broadcast address.
        | [0 | 224..=255, ..]
        // Link-local; protocol assignments; the former relays of 6to4; benchmarks; documentation (three ranges).
        | [169, 254, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18..=19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Scope::Special,
        [127, ..] => Scope::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] => Scope::Private,
        _ => Scope::Global,
    }
}

fn scope_v6(address: Ipv6Addr) -> Scope {
    match address.segments() {
        // The metadata of AWS, Google Cloud, Oracle Cloud and Scaleway.
        [0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254]
        | [0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254]
        | [0xfd00, 0x00c1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]
        | [0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x0042]
        // Protocol assignments, among them Teredo and benchmarks; documentation (two ranges); 6to4.
        | [0x2001, 0x0000..=0x01ff | 0x0db8, ..]
        | [0x2002, ..]
        | [0x3fff, 0x0000..=0x0fff, ..] => Scope::Special,
        [0, 0, 0, 0, 0, 0, 0, 1] => Scope::Loopback,
        [0xfc00..=0xfdff, ..] => Scope::Private,
        // NAT64 (RFC 6052): a host without IPv4 reaches the address that is embedded. What a gateway makes of one that
        // is not global is not known here.
        [0x0064, 0xff9b, 0, 0, 0, 0, high, low] => {
            let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
            let is_global = scope_v4(Ipv4Addr::new(a, b, c, d)) == Scope::Global;
            if is_global { Scope::Global } else { Scope::Special }
        }
        // Only this block is assigned as global unicast. Outside of it are mapped and compatible IPv4 addresses,
        // link-local and multicast ones.
        [0x2000..=0x3fff, ..] => Scope::Global,
        _ => Scope::Special,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(addresses: &[&str], expected: Scope) {
        for address in addresses {
            assert_eq!(scope(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn global_addresses_are_global() {
        check(
            &[
                "1.1.1.1",
                "9.255.255.255",
                "11.0.0.0",
                "100.63.255.255",
                "100.128.0.0",
                "126.255.255.255",
                "128.0.0.0",
                "169.253.255.255",
                "169.255.0.0",
                "172.15.255.255",
                "172.32.0.0",
                "192.0.1.0",
                "192.0.3.0",
                "192.167.255.255",
                "192.169.0.0",
                "198.17.255.255",
                "198.20.0.0",
                "223.255.255.255",
                "2001:200::",
                "2003::1",
                "2606:4700:4700::1111",
                "2a00:1450::1",
                "3ffe:ffff::1",
                "64:ff9b::1.1.1.1",
            ],
            Scope::Global,
        );
    }

    #[test]
    fn private_addresses_are_private() {
        check(
            &[
                "10.0.0.0",
                "10.255.255.255",
                "100.64.0.0",
                "100.127.255.255",
                "172.16.0.0",
                "172.31.255.255",
                "192.168.0.0",
                "192.168.255.255",
                "fc00::",
                "fd12:3456::1",
                "fdff:ffff::",
            ],
            Scope::Private,
        );
        check(&["127.0.0.1", "127.255.255.255", "::1"], Scope::Loopback);
    }

    #[test]
    fn special_addresses_are_never_allowed() {
        let addresses = [
            "0.0.0.0",
            "0.255.255.255",
            "100.100.100.200",
            "168.63.129.16",
            "169.254.0.0",
            "169.254.169.254",
            "169.254.170.2",
            "169.254.255.255",
            "192.0.0.1",
            "192.0.0.192",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.0",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::2",
            "::127.0.0.1",
            "::1.1.1.1",
            "::ffff:1.1.1.1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:0:1.1.1.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::127.0.0.1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1.1.1.1",
            "64:ff9b::1:101:101",
            "100::1",
            "2001::1",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:a00:1::1",
            "2002:7f00:1::1",
            "3fff::1",
            "3fff:fff::1",
            "4000::1",
            "5f00::1",
            "fd00:ec2::254",
            "fd20:ce::254",
            "fd00:c1::a9fe:a9fe",
            "fd00:42::42",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "ffff::1",
        ];
        check(&addresses, Scope::Special);
        for reach in [Reach::Global, Reach::Private, Reach::Loopback] {
            assert!(addresses.iter().all(|it| !reach.allows(it.parse().unwrap())), "{reach:?}");
        }
    }

    #[test]
    fn each_reach_allows_its_own() {
        let allowed = |reach: Reach| {
            let addresses = ["1.1.1.1", "10.0.0.1", "127.0.0.1", "2a00::1", "fd12::1", "::1"];
            let allows = |address: &&str| reach.allows(address.parse().unwrap());
            addresses.into_iter().filter(allows).collect::<Vec<_>>()
        };
        assert_eq!(allowed(Reach::Global), ["1.1.1.1", "2a00::1"]);
        assert_eq!(allowed(Reach::Private).len(), 6);
        assert_eq!(allowed(Reach::Loopback), ["127.0.0.1", "::1"]);
    }
}
