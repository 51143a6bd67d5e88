//! Texts that mean something: durations, addresses, networks and the like. Each says in one sentence what is wrong and in
//! another what to write.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use ipnet::IpNet;
use model::MacAddress;

/// Bytes of a unix socket's path at most, without the zero at its end (`unix(7)`, `sun_path`).
const SOCKET_PATH: usize = 107;
/// Characters of a name at most.
const NAME: usize = 63;
/// The longest duration: a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Why a text is refused, and what to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) remedy: String,
}

fn refuse<T>(message: impl Into<String>, remedy: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { message: message.into(), remedy: remedy.into() })
}

/// A name: it appears in commands, counters and interface names.
pub(crate) fn name(text: &str) -> Result<String, Refusal> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if text.len() <= NAME && starts_well && text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    refuse(
        format!("`{}` is not a name", shortened(text)),
        "write 1 to 63 letters, digits, `-`, `_` or `.`, a letter or digit first",
    )
}

/// A whole number and a unit, as in `250ms`.
pub(crate) fn duration(text: &str, zero: bool) -> Result<Duration, Refusal> {
    const REMEDY: &str = "write a whole number and one of the units ms, s, m, h, as in `5s` or `250ms`";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return refuse(format!("`{}` is not a duration", shortened(text)), REMEDY),
    };
    if number.is_empty() {
        return refuse(format!("`{}` is not a duration", shortened(text)), REMEDY);
    }
    let length = number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds));
    match length.map(Duration::from_millis) {
        Some(Duration::ZERO) if !zero => refuse("the duration is zero", "write at least `1ms`"),
        Some(length) if length <= LONGEST => Ok(length),
        _ => refuse(format!("`{}` is longer than a year", shortened(text)), "write at most `8760h`"),
    }
}

/// An IP address without anything behind it.
pub(crate) fn address(text: &str) -> Result<IpAddr, Refusal> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let message = format!("`{}` is not an IP address", shortened(text));
    let bare = text.split_once('/').map_or(text, |(address, _)| address);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return refuse(message, format!("write it without a prefix length: `{}`", quoted(address)));
    }
    if let Ok(endpoint) = text.parse::<SocketAddr>() {
        return refuse(message, format!("write it without a port: `{}`", quoted(endpoint.ip())));
    }
    refuse(message, "write an address as in `192.0.2.1` or `\"2001:db8::1\"`")
}

/// An address and the length of its network. An address of its `host` is not the network's own or broadcast address.
pub(crate) fn network(text: &str, host: bool) -> Result<IpNet, Refusal> {
    let Ok(network) = text.parse::<IpNet>() else {
        let message = format!("`{}` is not an address with the length of its network", shortened(text));
        return match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => refuse(message, format!("add the prefix length, as in `{address}/24`")),
            Ok(IpAddr::V6(address)) => refuse(message, format!("add the prefix length, as in `\"{address}/64\"`")),
            Err(_) => refuse(message, "write it as in `192.0.2.2/24` or `\"2001:db8::2/64\"`"),
        };
    };
    if !host && network.trunc() != network {
        return refuse(
            format!("`{network}` has bits behind its prefix length"),
            format!("write the network: `{}`", in_quotes_if_needed(&network.trunc().to_string())),
        );
    }
    Ok(network)
}

/// Six pairs of hexadecimal digits, of one station.
pub(crate) fn mac(text: &str) -> Result<MacAddress, Refusal> {
    const REMEDY: &str = "write six pairs of hexadecimal digits, as in `\"02:00:00:00:00:01\"`";
    match text.parse::<MacAddress>() {
        Ok(MacAddress([0, 0, 0, 0, 0, 0])) => {
            refuse("the Ethernet address is zero, which is nobody's", "write the station's own address")
        }
        Ok(mac) if mac.is_group() => refuse(
            format!("{mac} is a group's Ethernet address"),
            "write the address of one station: its first pair is an even number",
        ),
        Ok(mac) => Ok(mac),
        Err(_) => refuse(format!("`{}` is not an Ethernet address", shortened(text)), REMEDY),
    }
}

/// An address and a port, neither of them zero.
pub(crate) fn endpoint(text: &str) -> Result<SocketAddr, Refusal> {
    match text.parse::<SocketAddr>() {
        Ok(endpoint) if endpoint.port() == 0 => {
            refuse("the port is 0, which nobody listens on", "write a port from 1 to 65535")
        }
        Ok(SocketAddr::V6(endpoint)) if endpoint.scope_id() != 0 => {
            refuse(format!("`{endpoint}` names an interface"), "write the address without `%`")
        }
        Ok(endpoint) => Ok(endpoint),
        Err(_) => {
            let message = format!("`{}` is not an address with a port", shortened(text));
            match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(address)) => refuse(message, format!("add the port, as in `\"{address}:80\"`")),
                Ok(IpAddr::V6(address)) => refuse(message, format!("add the port, as in `\"[{address}]:80\"`")),
                Err(_) => refuse(message, "write it as in `\"10.1.0.11:9000\"` or `\"[2001:db8::11]:9000\"`"),
            }
        }
    }
}

/// Thirty-two hexadecimal digits.
pub(crate) fn seed(text: &str) -> Result<[u8; 16], Refusal> {
    let number = text.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u128::from_str_radix(text, 16).ok()).flatten();
    match number {
        Some(number) if text.len() == 32 => Ok(number.to_be_bytes()),
        _ => refuse(
            format!("the seed has {} characters, and is not 32 hexadecimal digits", text.chars().count()),
            "write what `openssl rand -hex 16` prints, in quotes, or `auto`",
        ),
    }
}

/// Where a unix socket can be.
pub(crate) fn socket(text: &str) -> Result<String, Refusal> {
    if !text.starts_with('/') {
        return refuse(
            format!("`{}` is not an absolute path", shortened(text)),
            "write a path that starts with `/`, as in `/run/tidegate/tidegate.sock`",
        );
    }
    if text.len() > SOCKET_PATH || text.contains('\0') {
        return refuse(
            format!("the path has {} bytes; a unix socket's has {SOCKET_PATH} at most", text.len()),
            "choose a shorter path, as `/run/tidegate/tidegate.sock`",
        );
    }
    Ok(text.to_owned())
}

/// An address as it must be written in YAML.
fn quoted(address: IpAddr) -> String {
    in_quotes_if_needed(&address.to_string())
}

/// A colon means something in YAML.
fn in_quotes_if_needed(text: &str) -> String {
    if text.contains(':') { format!("\"{text}\"") } else { text.to_owned() }
}

/// The start of a text that a person is shown.
pub(crate) fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().take(SHOWN).map(clean).collect();
    if text.chars().nth(SHOWN).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit() {
        for (text, milliseconds) in [("250ms", 250), ("5s", 5000), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text, false), Ok(Duration::from_millis(milliseconds)));
        }
        for text in ["5", "s", "", "1.5s", "-1s", "5 s", "5d", "99999999999999999999s", "99999h", "0s"] {
            assert!(duration(text, false).is_err(), "{text}");
        }
        assert_eq!(duration("0s", true), Ok(Duration::ZERO));
    }

    #[test]
    fn a_remedy_uses_what_was_written() {
        assert_eq!(address("192.0.2.1/24").unwrap_err().remedy, "write it without a prefix length: `192.0.2.1`");
        assert_eq!(address("[2001:db8::1]:80").unwrap_err().remedy, "write it without a port: `\"2001:db8::1\"`");
        assert_eq!(network("10.1.2.3/16", false).unwrap_err().remedy, "write the network: `10.1.0.0/16`");
        assert_eq!(endpoint("2001:db8::1").unwrap_err().remedy, "add the port, as in `\"[2001:db8::1]:80\"`");
    }

    #[test]
    fn a_seed_is_read_in_order() {
        let bytes = seed("000102030405060708090a0b0c0d0e0f").unwrap();
        assert_eq!(bytes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert!(seed("+00102030405060708090a0b0c0d0e0f").is_err());
        assert!(seed("0001").is_err());
    }

    #[test]
    fn a_long_text_is_shown_in_part() {
        assert_eq!(shortened(&"x".repeat(1000)).chars().count(), 61);
        assert_eq!(shortened("a\nb"), "a b");
    }
}
