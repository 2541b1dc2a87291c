//! IP addresses: which may be sent to, and which mean something behind their own router only.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One host: neither a group, nor everybody, nor nobody.
pub fn is_unicast(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => !ip.is_multicast() && !ip.is_broadcast() && ip.octets()[0] != 0 && ip.octets()[0] < 240,
        IpAddr::V6(ip) => !ip.is_multicast() && !ip.is_unspecified(),
    }
}

/// A special-purpose address that is not reached from everywhere (RFC 6890): private, shared, loopback, link-local,
/// unique-local, documentation, benchmarking. Whoever names one from elsewhere stands behind a NAT.
pub fn is_special_purpose(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_special_v4(ip),
        IpAddr::V6(ip) => is_special_v6(ip),
    }
}

fn is_special_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_documentation()
        || (a == 100 && b & 0xC0 == 64)
        || (a == 198 && b & 0xFE == 18)
        || (a == 192 && b == 0 && ip.octets()[2] == 0)
}

fn is_special_v6(ip: Ipv6Addr) -> bool {
    let first = ip.segments()[0];
    ip.is_loopback() || first & 0xFE00 == 0xFC00 || first & 0xFFC0 == 0xFE80 || ip.segments()[..2] == [0x2001, 0x0DB8]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn groups_everybody_and_nobody_are_not_one_host() {
        for text in ["224.0.0.1", "239.1.2.3", "255.255.255.255", "0.0.0.0", "0.1.2.3", "250.1.1.1", "::", "ff02::1"] {
            assert!(!is_unicast(ip(text)), "{text}");
        }
        for text in ["10.0.0.1", "127.0.0.1", "192.0.2.1", "8.8.8.8", "::1", "2001:db8::1", "::ffff:10.0.0.1"] {
            assert!(is_unicast(ip(text)), "{text}");
        }
    }

    #[test]
    fn addresses_behind_a_router_are_told_from_those_of_the_world() {
        for text in [
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "192.0.2.1",
            "198.18.0.1",
            "fd00::1",
            "fe80::1",
            "::1",
            "2001:db8::1",
            "::ffff:192.168.1.1",
        ] {
            assert!(is_special_purpose(ip(text)), "{text}");
        }
        for text in ["8.8.8.8", "100.128.0.1", "172.32.0.1", "198.20.0.1", "2400:3200::1"] {
            assert!(!is_special_purpose(ip(text)), "{text}");
        }
    }
}
