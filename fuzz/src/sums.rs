//! The checksums of a frame, found and summed without the help of `wire`.

use std::ops::Range;

/// Bytes under one checksum.
struct Covered {
    /// Where the checksum is.
    field: usize,
    bytes: Range<usize>,
    /// What the pseudo-header adds.
    pseudo: u32,
    /// Whether 0 says that there is no checksum (UDP over IPv4).
    is_optional: bool,
}

/// The sum of RFC 1071, the slow way.
#[must_use]
pub fn sum(bytes: &[u8], before: u32) -> u16 {
    let mut sum = before;
    for word in bytes.chunks(2) {
        sum += u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    ((sum & 0xffff) + (sum >> 16)) as u16
}

/// Whether all checksums of a frame are right; `None` when it is not understood.
#[must_use]
pub fn are_right(frame: &[u8]) -> Option<bool> {
    Some(covered(frame)?.iter().all(|part| {
        let is_absent = part.is_optional && frame[part.field..part.field + 2] == [0, 0];
        is_absent || sum(&frame[part.bytes.clone()], part.pseudo) == 0xffff
    }))
}

/// Makes all checksums of a frame right, as far as it is understood.
pub fn repair(frame: &mut [u8]) {
    for part in covered(frame).unwrap_or_default() {
        frame[part.field..part.field + 2].fill(0);
        let checksum = match !sum(&frame[part.bytes], part.pseudo) {
            0 => 0xffff, // as good as 0, and 0 may say that there is none
            checksum => checksum,
        };
        frame[part.field..part.field + 2].copy_from_slice(&checksum.to_be_bytes());
    }
}

fn covered(frame: &[u8]) -> Option<Vec<Covered>> {
    let network = if frame.get(12..14)? == [0x81, 0] { 18 } else { 14 };
    match frame.get(network - 2..network)? {
        [8, 0] => covered_v4(frame, network),
        [0x86, 0xdd] => covered_v6(frame, network),
        [8, 6] => Some(vec![]),
        _ => None,
    }
}

fn covered_v4(frame: &[u8], network: usize) -> Option<Vec<Covered>> {
    let length = usize::from(frame.get(network)? & 0x0f) * 4;
    let header = frame.get(network..network + length).filter(|header| header.len() >= 20)?;
    let total = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let end = Some(network + total).filter(|&end| total >= length && end <= frame.len())?;
    let own =
        Covered { field: network + 10, bytes: network..network + length, pseudo: 0, is_optional: false };
    if header[6] & 0x1f != 0 || header[7] != 0 {
        return Some(vec![own]); // a later fragment has no L4 header
    }
    let pseudo = u32::from(sum(&header[12..20], 0));
    let transport = transport(frame, network + length..end, header[9], pseudo, true)?;
    Some(vec![own, transport])
}

fn covered_v6(frame: &[u8], network: usize) -> Option<Vec<Covered>> {
    let header = frame.get(network..network + 40)?;
    let end = network + 40 + usize::from(u16::from_be_bytes([header[4], header[5]]));
    let pseudo = u32::from(sum(&header[8..40], 0));
    let transport = transport(frame, network + 40..end, header[6], pseudo, false)?;
    Some(vec![transport])
}

fn transport(frame: &[u8], bytes: Range<usize>, protocol: u8, pseudo: u32, v4: bool) -> Option<Covered> {
    let payload = frame.get(bytes.clone())?;
    let (at, has_pseudo) = match protocol {
        1 if v4 => (2, false),
        6 => (16, true),
        17 => (6, true),
        58 if !v4 => (2, true),
        _ => return None,
    };
    payload.get(at..at + 2)?;
    // UDP has its own length, and what lies behind is not covered.
    let length = if protocol == 17 {
        usize::from(u16::from_be_bytes([payload[4], payload[5]]))
    } else {
        payload.len()
    };
    let end = Some(bytes.start + length).filter(|&end| end <= bytes.end && length >= at + 2)?;
    Some(Covered {
        field: bytes.start + at,
        bytes: bytes.start..end,
        pseudo: if has_pseudo { pseudo + u32::from(protocol) + length as u32 } else { 0 },
        is_optional: protocol == 17 && v4,
    })
}
