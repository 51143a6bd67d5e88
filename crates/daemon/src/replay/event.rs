//! What happens to backends while a capture is replayed.

use std::{net::SocketAddr, str::FromStr};

use model::Millis;

/// That a backend goes down or comes up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthEvent {
    /// Since the first packet.
    pub(crate) at: Millis,
    /// The pool's name.
    pub(crate) pool: String,
    pub(crate) address: SocketAddr,
    pub(crate) is_up: bool,
}

impl FromStr for HealthEvent {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let &[seconds, pool, address, state] = words.as_slice() else {
            return Err("write 'SECONDS POOL ADDRESS up' or 'SECONDS POOL ADDRESS down'".to_owned());
        };
        Ok(Self {
            at: millis(seconds).ok_or_else(|| format!("`{seconds}` is no number of seconds, such as 2.5"))?,
            pool: pool.to_owned(),
            address: address
                .parse()
                .map_err(|_| format!("`{address}` is no address and port, such as 10.1.0.11:9000"))?,
            is_up: match state {
                "up" => true,
                "down" => false,
                _ => return Err(format!("a backend is `up` or `down`, not `{state}`")),
            },
        })
    }
}

/// Seconds with at most three digits after the point.
fn millis(text: &str) -> Option<Millis> {
    let (seconds, rest) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(seconds) || !is_number(rest) || rest.len() > 3 {
        return None;
    }
    let seconds: u64 = seconds.parse().ok()?;
    let part: u64 = format!("{rest:0<3}").parse().ok()?;
    Some(Millis(seconds.checked_mul(1000)?.checked_add(part)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_is_written() {
        let event: HealthEvent = "2.05 objects [2001:db8::1]:9000 down".parse().unwrap();
        assert_eq!(
            event,
            HealthEvent {
                at: Millis(2050),
                pool: "objects".to_owned(),
                address: "[2001:db8::1]:9000".parse().unwrap(),
                is_up: false
            }
        );
        assert_eq!("3 a 10.0.0.1:1 up".parse::<HealthEvent>().unwrap().at, Millis(3000));
    }

    #[test]
    fn what_is_no_event_is_refused_with_what_it_takes() {
        for (text, remedy) in [
            ("2.5 objects down", "SECONDS POOL ADDRESS"),
            ("soon objects 10.0.0.1:1 up", "no number of seconds"),
            ("1.2345 objects 10.0.0.1:1 up", "no number of seconds"),
            ("-1 objects 10.0.0.1:1 up", "no number of seconds"),
            ("1. objects 10.0.0.1:1 up", "no number of seconds"),
            ("1 objects 10.0.0.1 up", "no address and port"),
            ("1 objects 10.0.0.1:1 tired", "`up` or `down`"),
        ] {
            assert!(text.parse::<HealthEvent>().unwrap_err().contains(remedy), "{text}");
        }
    }
}
