//! Values that are written as text: durations, port ranges, networks.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Network, PortRange, Span};

macro_rules! from_text {
    ($type:ident, $says:literal, $parse:expr) => {
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "format": $says })
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                let parse: fn(&str) -> Result<$type, String> = $parse;
                parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

from_text!(Span, "duration", |text| {
    let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 =
        number.parse().map_err(|_| format!("`{text}` is not a duration such as 300ms, 20s, 5m, 2h or 90d"))?;
    let ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(format!("`{text}` is not a duration such as 300ms, 20s, 5m, 2h or 90d")),
    };
    Ok(Span(Duration::from_millis(number.saturating_mul(ms))))
});

from_text!(PortRange, "ports", |text| {
    let (from, to) = text.split_once('-').ok_or(format!("`{text}` is not a range such as 20000-31999"))?;
    match (from.trim().parse::<u16>(), to.trim().parse::<u16>()) {
        (Ok(from), Ok(to)) if 1024 <= from && from < to => Ok(PortRange { from, to }),
        _ => Err(format!("`{text}` is not a range of ports from 1024 to 65535")),
    }
});

from_text!(Network, "network", |text| {
    let address = || text.parse::<IpAddr>().map(IpNet::from).ok();
    let network: IpNet = match text.split_once('/') {
        None => address(),
        Some(_) => text.parse().ok(),
    }
    .ok_or_else(|| format!("`{text}` is no address and no network: a prefix is 0 to 32, or 128"))?;
    if network.network() != network.addr() {
        return Err(format!("`{text}`: host bits are set; the network is {}", network.trunc()));
    }
    // What comes over IPv4 is looked for as such.
    let mapped = match network {
        IpNet::V6(six) if six.prefix_len() >= 96 => six.addr().to_ipv4_mapped().zip(six.prefix_len().checked_sub(96)),
        IpNet::V4(_) | IpNet::V6(_) => None,
    };
    let four = mapped.and_then(|(address, prefix)| ipnet::Ipv4Net::new(address, prefix).ok());
    Ok(Network(four.map_or(network, IpNet::V4)))
});

/// As it is written.
impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let ms = self.0.as_millis();
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];
        let unit = units.iter().find(|(_, of)| ms >= *of && ms.is_multiple_of(*of));
        s.collect_str(&unit.map_or(format!("{ms}ms"), |(unit, of)| format!("{}{unit}", ms / of)))
    }
}

impl Serialize for Network {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}
