//! Checksums: summed in pieces as in one, and repaired after changes as recomputed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{script::Script, sums};
use wire::checksum::{Delta, Sum, is_right};

/// A change of some words of the data.
struct Change {
    at: usize,
    to: Vec<u8>,
}

fuzz_target!(|input: (&[u8], &[u8])| {
    let (script, data) = input;
    if data.iter().all(|byte| *byte == 0) {
        return; // only then is the sum 0, of which 0xffff is the other form
    }
    let mut script = Script::new(script);
    sum_in_pieces(&mut script, data);
    let mut data = data.to_vec();
    let (mut checksum, mut all) = (!Sum::of(&data).fold(), Delta::default());
    let first = checksum;
    while !script.is_over() {
        let change = Change::read(&mut script, data.len());
        let part = &mut data[change.at..change.at + change.to.len()];
        let delta = Delta::of(part, &change.to);
        part.copy_from_slice(&change.to);
        if data.iter().all(|byte| *byte == 0) {
            return;
        }
        checksum = delta.apply(checksum);
        all = all.plus(delta);
        assert_eq!(checksum, !sums::sum(&data, 0), "repaired and recomputed");
    }
    assert_eq!(all.apply(first), checksum, "one after the other and all at once");
    assert!(all.apply_udp(first) != 0 || first == 0);
    assert_eq!(all.apply_udp(0), 0);
});

impl Change {
    fn read(script: &mut Script<'_>, length: usize) -> Self {
        let words = length / 2;
        let at = usize::from(script.word()) % (words + 1);
        let count = usize::from(script.byte()) % (words - at + 1);
        let mut to = script.bytes(2 * count).to_vec();
        to.resize(2 * count, 0);
        Self { at: 2 * at, to }
    }
}

fn sum_in_pieces(script: &mut Script<'_>, data: &[u8]) {
    let whole = sums::sum(data, 0);
    let mut sum = Sum::default();
    let mut rest = data;
    for _ in 0..script.byte() % 8 {
        let (piece, behind) = rest.split_at(usize::from(script.byte()).min(rest.len()));
        sum.add(piece);
        rest = behind;
    }
    sum.add(rest);
    assert_eq!(sum.fold(), whole, "in pieces");
    assert_eq!(Sum::of(data).fold(), whole, "in one");
    if let Some(header) = data.first_chunk::<20>().filter(|header| header[0] != 0) {
        assert_eq!(is_right(header), Sum::of(header).fold() == 0xffff, "a header");
    }
}
