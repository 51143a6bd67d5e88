//! What the devices of ports do of their own, as the datapath and operators are told.

use std::sync::Arc;

use datapath::snapshot::{Cuts, Hashed, Spread};
use dpdk::{CutsBy, HashFields, Offloads, Rss};

/// What a device does of its own, a few words each.
pub(crate) fn names(offloads: Offloads) -> Vec<String> {
    let names = [
        (offloads.checksums, "receive checksums"),
        (offloads.segments, "segments"),
        (offloads.cuts == CutsBy::V4, "cutting (IPv4)"),
        (offloads.cuts == CutsBy::Both, "cutting"),
    ];
    names.into_iter().filter(|(is_used, _)| *is_used).map(|(_, name)| name.to_owned()).collect()
}

/// Which TCP frames a device cuts.
pub(crate) fn cuts(offloads: Offloads) -> Cuts {
    Cuts {
        v4: offloads.cuts != CutsBy::None,
        v6: offloads.cuts == CutsBy::Both,
        largest: offloads.largest_cut,
    }
}

/// How a device spreads what it receives; `None` where it does not tell, or what it hashes of a packet's ends is only a part
/// that each driver lays out in its own way.
pub(crate) fn spread(rss: Option<&Rss>, workers: u8) -> Option<Arc<Spread>> {
    let rss = rss.filter(|rss| rss.fields == HashFields::Both)?;
    let hashed = Hashed {
        tcp_v4: rss.ports.tcp_v4,
        udp_v4: rss.ports.udp_v4,
        tcp_v6: rss.ports.tcp_v6,
        udp_v6: rss.ports.udp_v6,
    };
    Spread::try_new(&rss.key, &rss.table, workers, hashed).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use dpdk::HashedPorts;

    use super::*;

    #[test]
    fn what_a_device_does_is_told_in_words() {
        let nothing =
            Offloads { checksums: false, segments: false, cuts: CutsBy::None, largest_cut: u16::MAX };
        assert!(names(nothing).is_empty());
        let all = Offloads { checksums: true, segments: true, cuts: CutsBy::V4, ..nothing };
        assert_eq!(names(all), ["receive checksums", "segments", "cutting (IPv4)"]);
        assert!(cuts(all).v4 && !cuts(all).v6 && cuts(Offloads { cuts: CutsBy::Both, ..all }).v6);
    }

    #[test]
    fn a_card_that_hashes_one_side_only_is_not_computed() {
        let rss = Rss {
            fields: HashFields::Both,
            key: vec![1; 40],
            table: vec![0, 1],
            ports: HashedPorts { tcp_v4: true, ..HashedPorts::default() },
        };
        assert!(spread(Some(&rss), 2).is_some());
        let one_side = Rss { fields: HashFields::Destination, ..rss.clone() };
        let silent = Rss { key: vec![], ..rss };
        assert!(spread(Some(&one_side), 2).is_none() && spread(Some(&silent), 2).is_none());
        assert!(spread(None, 2).is_none());
    }
}
