//! The forms that text takes in a file: addresses, durations, names. Each says what it expects and what to write instead.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time,
};

use ipnet::IpNet;
use model::MacAddress;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use crate::words::quoted;

/// Why text is not what it should be, and what to write instead.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) remedy: String,
}

impl Refusal {
    fn new(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { message: message.into(), remedy: remedy.into() }
    }
}

/// What the walk over the tree knows of a form.
pub(crate) struct Form {
    /// What is expected, with an example.
    pub(crate) expected: &'static str,
    /// Whether a text has this form.
    pub(crate) check: fn(&str) -> Result<(), Refusal>,
    /// Whether what it accepts may be a number to YAML.
    pub(crate) may_be_a_number: bool,
}

/// The forms that may be a number to YAML.
const NUMBERS: [&str; 1] = ["Rate"];

/// The form with the name that it has in the schema.
pub(crate) fn form(name: &str) -> Option<Form> {
    FORMS.iter().find(|(known, ..)| *known == name).map(|&(_, expected, check)| Form {
        expected,
        check,
        may_be_a_number: NUMBERS.contains(&name),
    })
}

macro_rules! forms {
    ($($(#[$doc:meta])* $name:ident($inner:ty) = $parse:path, $pattern:expr, $expected:literal;)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Debug, Deserialize)]
            #[serde(try_from = "String")]
            pub(crate) struct $name(pub(crate) $inner);

            impl TryFrom<String> for $name {
                type Error = String;

                fn try_from(text: String) -> Result<Self, String> {
                    $parse(&text).map(Self).map_err(|refusal| refusal.message)
                }
            }

            impl JsonSchema for $name {
                fn schema_name() -> Cow<'static, str> {
                    stringify!($name).into()
                }

                fn json_schema(_: &mut SchemaGenerator) -> Schema {
                    let pattern: &str = $pattern;
                    if NUMBERS.contains(&stringify!($name)) {
                        // What is no text has no pattern, so the one number that may stand there is said in a range.
                        let types = ["string", "integer"];
                        return json_schema!({ "type": types, "description": $expected, "pattern": pattern, "minimum": 0, "maximum": 0 });
                    }
                    json_schema!({ "type": "string", "description": $expected, "pattern": pattern })
                }
            }
        )*

        const FORMS: &[(&str, &str, fn(&str) -> Result<(), Refusal>)] =
            &[$((stringify!($name), $expected, |text| $parse(text).map(|_| ()))),*];
    };
}

forms! {
    /// A name of something in the file.
    Name(String) = name, "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", "a name such as `uplink`";
    /// A device for DPDK.
    Device(String) = device, "^\\S+$", "a PCI address such as `0000:3b:02.0` or a DPDK vdev such as `net_af_packet0,iface=veth0`";
    /// A time span.
    Duration(time::Duration) = duration, "^[0-9]+(ms|s|m|h)$", "a duration such as `250ms`, `5s` or `1m`";
    /// Bits a second.
    Rate(u64) = rate, "^([0-9]+(bps|kbps|Mbps|Gbps)|0)$", "a rate such as `10Gbps` or `500Mbps`, or `0`";
    /// Packets a second.
    PacketRate(u32) = packet_rate, "^[0-9]+(pps|kpps|Mpps)$", "packets a second, such as `20kpps` or `1Mpps`";
    /// An IP address.
    Address(IpAddr) = address, "^[0-9A-Fa-f.:]+$", "an IP address such as `192.0.2.1` or `2001:db8::1`";
    /// An IP address, or a network of them.
    Addresses(IpNet) = addresses, "^[0-9A-Fa-f.:]+(/[0-9]+)?$", "an IP address such as `192.0.2.1`, or a network such as `198.51.100.0/24`";
    /// An IP address and the length of its network.
    Network(IpNet) = network, "^[0-9A-Fa-f.:]+/[0-9]+$", "an address and the length of its network, such as `192.0.2.2/24`";
    /// Addresses that share their first bits.
    Prefix(IpNet) = prefix, "^[0-9A-Fa-f.:]+(/[0-9]+)?$", "a prefix such as `10.0.0.0/8`, or an address";
    /// The path of a file.
    FilePath(String) = file_path, "^.+$", "the path of a file";
    /// An IP address and a port.
    Endpoint(SocketAddr) = endpoint, "^[0-9A-Fa-f.:\\[\\]]+:[0-9]+$", "an address and a port, such as `10.1.0.11:9000` or `[2001:db8::11]:9000`";
    /// An Ethernet address.
    Mac(MacAddress) = mac, "^([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}$", "an Ethernet address such as `02:00:00:00:00:01`";
    /// What tables are keyed with.
    Seed([u8; 16]) = seed, "^[0-9A-Fa-f]{32}$", "32 hexadecimal digits";
    /// How a backend is named in QUIC connection ids.
    ServerId(model::ServerId) = server_id, "^([0-9A-Fa-f]{2}){1,8}$", "2 to 16 hexadecimal digits, such as `0a1b`";
    /// The path of a unix socket.
    SocketPath(String) = socket_path, "^.{1,107}$", "a path such as `/run/tidegate/tidegate.sock`";
}

fn server_id(text: &str) -> Result<model::ServerId, Refusal> {
    let is_even = matches!(text.len(), 2..=16) && text.len().is_multiple_of(2);
    let value = u64::from_str_radix(text, 16).ok().filter(|_| text.bytes().all(|b| b.is_ascii_hexdigit()));
    match value.filter(|_| is_even) {
        Some(value) => Ok(model::ServerId { length: text.len() as u8 / 2, value }),
        None => Err(Refusal::new(
            format!("{} is no server id", quoted(text)),
            "write 1 to 8 bytes as two hexadecimal digits each, in quotes, such as `\"0a1b\"`",
        )),
    }
}

fn name(text: &str) -> Result<String, Refusal> {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    if first && rest && text.len() <= 64 {
        return Ok(text.to_owned());
    }
    let remedy = "write 1 to 64 letters, digits, `.`, `_` or `-`, of which the first is a letter or a digit"
        .to_owned();
    Err(Refusal::new(format!("{} cannot be a name", quoted(text)), remedy))
}

fn device(text: &str) -> Result<String, Refusal> {
    let (head, arguments) = text.split_once(',').map_or((text, None), |(head, rest)| (head, Some(rest)));
    let vdev = head.strip_prefix("net_").or_else(|| head.strip_prefix("eth_"));
    let is_vdev = vdev.is_some_and(|driver| {
        !driver.is_empty() && driver.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    });
    if !is_vdev && !is_pci(head) {
        let message = format!("{} is neither a PCI address nor a DPDK vdev", quoted(head));
        let remedy =
            "write a PCI address such as `0000:3b:02.0`; for a kernel interface `net_af_packet0,iface=NAME`";
        return Err(Refusal::new(message, remedy));
    }
    for argument in arguments.into_iter().flat_map(|arguments| arguments.split(',')) {
        let sound = argument
            .split_once('=')
            .is_some_and(|(key, _)| !key.is_empty() && !argument.contains(char::is_whitespace));
        if !sound {
            let message = format!("{} is not an argument for a device", quoted(argument));
            return Err(Refusal::new(message, "write `key=value` after a comma, without spaces"));
        }
    }
    let driver = vdev.map(|driver| driver.trim_end_matches(|c: char| c.is_ascii_digit()));
    if matches!(driver, Some("af_packet" | "af_xdp")) && interface(text).is_none() {
        let message = format!("{} names no kernel interface", quoted(text));
        return Err(Refusal::new(message, format!("write `{head},iface=NAME`")));
    }
    // The `iface` of vhost is the path of a socket.
    interface(text).filter(|_| driver != Some("vhost")).map_or(Ok(()), interface_name)?;
    Ok(text.to_owned())
}

fn interface_name(name: &str) -> Result<(), Refusal> {
    // IFNAMSIZ of netdevice(7) counts a 0 at the end.
    const LONGEST: usize = 15;
    if name.len() <= LONGEST {
        return Ok(());
    }
    let message = format!(
        "the interface name {} has {} bytes; the kernel's have at most {LONGEST}",
        quoted(name),
        name.len()
    );
    Err(Refusal::new(message, "write the name that `ip link` shows"))
}

/// The kernel interface that a device string names.
pub(crate) fn interface(device: &str) -> Option<&str> {
    let found = device.split(',').find_map(|argument| argument.strip_prefix("iface="));
    found.filter(|name| !name.is_empty())
}

/// The device without its arguments, with the PCI domain written out.
pub(crate) fn device_id(device: &str) -> String {
    let head = device.split(',').next().unwrap_or_default();
    let domain = if is_pci(head) && head.matches(':').count() == 1 { "0000:" } else { "" };
    format!("{domain}{}", head.to_ascii_lowercase())
}

/// `[domain:]bus:device.function`
fn is_pci(text: &str) -> bool {
    let hex = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
    let Some((slot, function)) = text.rsplit_once('.') else {
        return false;
    };
    let function_fits = matches!(function.as_bytes(), [b'0'..=b'7']);
    let parts: Vec<&str> = slot.split(':').collect();
    let slot_fits = match parts[..] {
        [domain, bus, device] => hex(domain, 4) && hex(bus, 2) && hex(device, 2),
        [bus, device] => hex(bus, 2) && hex(device, 2),
        _ => false,
    };
    function_fits && slot_fits
}

fn duration(text: &str) -> Result<time::Duration, Refusal> {
    const LONGEST: u64 = 366 * 24 * 3_600_000;
    let refuse = |message: String| {
        Refusal::new(message, "write a number and `ms`, `s`, `m` or `h`, such as `250ms` or `5s`")
    };
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" if digits > 0 => return Err(refuse(format!("{} has no unit", quoted(text)))),
        _ => return Err(refuse(format!("{} is not a duration", quoted(text)))),
    };
    if digits == 0 {
        return Err(refuse(format!("{} is not a duration", quoted(text))));
    }
    let total = number.parse::<u64>().ok().and_then(|n| n.checked_mul(millis)).filter(|&all| all <= LONGEST);
    total.map(time::Duration::from_millis).ok_or_else(|| {
        Refusal::new(format!("{} is longer than a year", quoted(text)), "write a shorter duration")
    })
}

/// A duration as the file would say it: in the largest unit that leaves no rest.
pub(crate) fn shown(duration: time::Duration) -> String {
    let millis = duration.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = units.into_iter().find(|(length, _)| millis >= *length && millis.is_multiple_of(*length));
    let (length, unit) = if millis == 0 { (1, "s") } else { unit.unwrap_or((1, "ms")) };
    format!("{}{unit}", millis / length)
}

fn address(text: &str) -> Result<IpAddr, Refusal> {
    if let Ok(address) = text.parse() {
        return unmapped(address, |v4| v4);
    }
    let message = format!("{} is not an IP address", quoted(text));
    let bare = text.split_once('/').map(|(bare, _)| bare).filter(|bare| bare.parse::<IpAddr>().is_ok());
    let remedy = match (bare, text.parse::<SocketAddr>()) {
        (Some(bare), _) => format!("write it without the length: `{bare}`"),
        (None, Ok(with_port)) => format!("write it without the port: `{}`", with_port.ip()),
        (None, Err(_)) => {
            "write an address such as `192.0.2.1` or `2001:db8::1`; names are not looked up".to_owned()
        }
    };
    Err(Refusal::new(message, remedy))
}

/// RFC 4291, 2.5.5.2: an IPv4-mapped address is no address of an IPv6 packet.
fn unmapped(address: IpAddr, show: impl Fn(String) -> String) -> Result<IpAddr, Refusal> {
    let IpAddr::V6(v6) = address else {
        return Ok(address);
    };
    match Ipv6Addr::to_ipv4_mapped(&v6) {
        None => Ok(address),
        Some(v4) => {
            let message = format!("`{v6}` is an IPv4 address in IPv6 form");
            Err(Refusal::new(message, format!("write it as IPv4: `{}`", show(v4.to_string()))))
        }
    }
}

fn network(text: &str) -> Result<IpNet, Refusal> {
    if let Ok(network) = text.parse::<IpNet>() {
        let length = network.prefix_len().saturating_sub(96);
        return unmapped(network.addr(), |v4| format!("{v4}/{length}")).map(|_| network);
    }
    let message = format!("{} is not an address with the length of its network", quoted(text));
    let remedy = match text.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => format!("add the length, such as `{v4}/24`"),
        Ok(IpAddr::V6(v6)) => format!("add the length, such as `{v6}/64`"),
        Err(_) => "write it like `192.0.2.2/24` or `2001:db8::2/64`".to_owned(),
    };
    Err(Refusal::new(message, remedy))
}

fn rate(text: &str) -> Result<u64, Refusal> {
    const GREATEST: u64 = 100_000_000_000_000;
    if text == "0" {
        return Ok(0);
    }
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let bits = match unit {
        "bps" => 1,
        "kbps" => 1_000,
        "Mbps" => 1_000_000,
        "Gbps" => 1_000_000_000,
        _ => 0,
    };
    if digits == 0 || bits == 0 {
        let message = format!("{} is not a rate", quoted(text));
        return Err(Refusal::new(
            message,
            "write a number and `bps`, `kbps`, `Mbps` or `Gbps`, such as `10Gbps`",
        ));
    }
    let total = number.parse::<u64>().ok().and_then(|number| number.checked_mul(bits));
    total.filter(|&total| total <= GREATEST).ok_or_else(|| {
        Refusal::new(
            format!("{} is more than 100000Gbps", quoted(text)),
            "write a lower rate, or `0` for none",
        )
    })
}

fn packet_rate(text: &str) -> Result<u32, Refusal> {
    const REMEDY: &str = "write a number and `pps`, `kpps` or `Mpps`, such as `20kpps`";
    const GREATEST: u32 = 1_000_000_000;
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let packets = match unit {
        "pps" => 1,
        "kpps" => 1_000,
        "Mpps" => 1_000_000,
        _ => 0,
    };
    if digits == 0 || packets == 0 {
        return Err(Refusal::new(format!("{} is no number of packets a second", quoted(text)), REMEDY));
    }
    let total = number.parse::<u32>().ok().and_then(|number| number.checked_mul(packets));
    match total.filter(|&total| total <= GREATEST) {
        Some(0) => Err(Refusal::new(format!("{} lets nothing pass", quoted(text)), REMEDY)),
        Some(total) => Ok(total),
        None => Err(Refusal::new(format!("{} is more than 1000Mpps", quoted(text)), "write a lower rate")),
    }
}

/// An address alone is a prefix of all its bits.
pub(crate) fn prefix(text: &str) -> Result<IpNet, Refusal> {
    let network = match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
        (Ok(network), _) => network,
        (Err(_), Ok(address)) => address.into(),
        _ => {
            let message = format!("{} is not a prefix", quoted(text));
            return Err(Refusal::new(message, "write it like `192.0.2.0/24` or `2001:db8::/32`"));
        }
    };
    let length = network.prefix_len().saturating_sub(96);
    unmapped(network.addr(), |v4| format!("{v4}/{length}"))?;
    let whole = network.trunc();
    if whole == network {
        return Ok(network);
    }
    let message = format!("{} has bits behind its length", quoted(text));
    Err(Refusal::new(message, format!("write `{whole}`, or `{}` for the address alone", network.addr())))
}

fn file_path(text: &str) -> Result<String, Refusal> {
    let sound = !text.is_empty() && !text.contains('\0') && !text.ends_with('/');
    let refusal = || {
        Refusal::new(format!("{} is not the path of a file", quoted(text)), "write a path such as `deny.txt`")
    };
    sound.then(|| text.to_owned()).ok_or_else(refusal)
}

fn addresses(text: &str) -> Result<IpNet, Refusal> {
    if !text.contains('/') {
        return address(text).map(IpNet::from);
    }
    let network = network(text)?;
    if network.addr() == network.network() {
        return Ok(network);
    }
    let message = format!("{} has bits behind its first {}", quoted(text), network.prefix_len());
    Err(Refusal::new(
        message,
        format!("write `{}`, or for one address `{}`", network.trunc(), network.addr()),
    ))
}

fn endpoint(text: &str) -> Result<SocketAddr, Refusal> {
    if let Ok(endpoint) = text.parse::<SocketAddr>() {
        let port = endpoint.port();
        if port == 0 {
            return Err(Refusal::new(format!("{} has port 0", quoted(text)), "write a port from 1 to 65535"));
        }
        return unmapped(endpoint.ip(), |v4| format!("{v4}:{port}")).map(|_| endpoint);
    }
    let message = format!("{} is not an address with a port", quoted(text));
    let remedy = match text.parse::<IpAddr>() {
        Ok(address) => format!("add the port, such as `{}`", SocketAddr::new(address, 9000)),
        Err(_) => {
            "write it like `10.1.0.11:9000` or `[2001:db8::11]:9000`; names are not looked up".to_owned()
        }
    };
    Err(Refusal::new(message, remedy))
}

fn mac(text: &str) -> Result<MacAddress, Refusal> {
    text.parse().map_err(|_| {
        let message = format!("{} is not an Ethernet address", quoted(text));
        Refusal::new(message, "write six pairs of hexadecimal digits, such as `02:00:00:00:00:01`")
    })
}

fn seed(text: &str) -> Result<[u8; 16], Refusal> {
    let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let number = u128::from_str_radix(text, 16).ok().filter(|_| digits);
    number.map(u128::to_be_bytes).ok_or_else(|| {
        let message = format!("{} is not a seed of 32 hexadecimal digits", quoted(text));
        Refusal::new(message, "write what `openssl rand -hex 16` prints, in quotes, or `auto`")
    })
}

fn socket_path(text: &str) -> Result<String, Refusal> {
    // sun_path of unix(7) has 108 bytes, the last of which is 0.
    const LONGEST: usize = 107;
    match text.len() {
        _ if text.contains('\0') => Err(Refusal::new("the path contains a zero byte", "remove it")),
        _ if text.ends_with('/') => {
            let message = format!("{} names a directory", quoted(text));
            Err(Refusal::new(message, format!("add the socket's name: `{text}tidegate.sock`")))
        }
        0 => Err(Refusal::new("the path is empty", "write a path such as `/run/tidegate/tidegate.sock`")),
        1..=LONGEST => Ok(text.to_owned()),
        length => {
            let message = format!("the path has {length} bytes; a unix socket's path has at most {LONGEST}");
            Err(Refusal::new(message, "write a shorter path such as `/run/tidegate/tidegate.sock`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_read_in_each_unit() {
        for (text, millis) in [("250ms", 250), ("5s", 5_000), ("1m", 60_000), ("2h", 7_200_000), ("0s", 0)] {
            assert_eq!(duration(text).unwrap(), time::Duration::from_millis(millis), "{text}");
        }
    }

    #[test]
    fn a_duration_is_shown_as_people_write_it() {
        for text in ["0s", "5s", "300ms", "1500ms", "90s", "2m", "1h", "36h"] {
            assert_eq!(shown(duration(text).unwrap()), text);
        }
        assert_eq!(shown(duration("60000ms").unwrap()), "1m");
    }

    #[test]
    fn a_duration_that_is_none_is_refused() {
        for text in
            ["", "5", "s", "5 s", "-5s", "1.5s", "5sec", "1_000ms", "99999999999999999999s", "9000h", "５s"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_device_is_a_pci_address_or_a_vdev() {
        for text in [
            "0000:3b:02.0",
            "3b:02.7",
            "0000:3b:02.0,arg=1",
            "net_af_packet0,iface=veth0",
            "net_tap0",
            "net_null0,size=64,copy=1",
            "net_pcap0,rx_pcap=/tmp/a.pcap,infinite_rx=1",
            "net_tap0,iface=fifteen-bytes-0",
            "net_vhost0,iface=/run/a/socket/with/a/long/path",
        ] {
            assert_eq!(device(text).unwrap(), text);
        }
    }

    #[test]
    fn a_device_that_is_none_is_refused() {
        for text in [
            "",
            "eth0",
            "3b:02.8",
            "3b:2.0",
            "net_",
            "net_tap0,",
            "net_tap0,iface",
            "net_af_xdp0",
            "net_af_packet0,iface=",
            "net_af_packet0,iface=sixteen-bytes-00",
            "net_tap0,iface=sixteen-bytes-00",
        ] {
            assert!(device(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_pci_address_is_the_same_with_and_without_its_domain() {
        assert_eq!(device_id("3B:02.0,x=1"), device_id("0000:3b:02.0"));
        assert_ne!(device_id("net_tap0,iface=a"), device_id("net_tap1,iface=a"));
    }

    #[test]
    fn a_mapped_address_is_refused_in_every_form() {
        assert!(address("::ffff:192.0.2.1").unwrap_err().remedy.contains("`192.0.2.1`"));
        assert!(network("::ffff:192.0.2.1/120").unwrap_err().remedy.contains("`192.0.2.1/24`"));
        assert!(endpoint("[::ffff:192.0.2.1]:80").unwrap_err().remedy.contains("`192.0.2.1:80`"));
    }

    #[test]
    fn a_seed_is_read_in_the_order_of_its_digits() {
        assert_eq!(
            seed("000102030405060708090a0b0c0d0e0f").unwrap(),
            [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
        );
        assert!(seed("+0102030405060708090a0b0c0d0e0f0").is_err());
    }
}
