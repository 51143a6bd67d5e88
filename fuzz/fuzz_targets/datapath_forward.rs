//! Frames through the datapath: each gets one verdict, none is lost, and what leaves is right.
//!
//! The first two bytes set the gateway up (`rig::Setup`); then come operations. The low three bits of a byte say which, the
//! others how; the bytes that follow are its arguments.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_fuzz::{
    frames,
    rig::{Arrived, Rig, Setup},
    script::Script,
    sums,
};

/// Operations of one run.
const OPERATIONS: usize = 64;
/// Frames in a burst.
const BURST: usize = 64;

fuzz_target!(|bytes: &[u8]| {
    let mut script = Script::new(bytes);
    let mut run = Run { rig: Rig::new(Setup(script.word())), bursts: Default::default() };
    for _ in 0..OPERATIONS {
        if script.is_over() {
            break;
        }
        run.operate(&mut script);
    }
    run.deliver(0, false);
    run.deliver(1, false);
    run.rig.list();
    run.rig.stop();
});

/// A worker, and what has yet to arrive by its two ports.
struct Run {
    rig: Rig,
    bursts: [Vec<Arrived>; 2],
}

impl Run {
    fn operate(&mut self, script: &mut Script<'_>) {
        let operation = script.byte();
        let (what, how) = (operation & 7, operation >> 3);
        let side = usize::from(how & 1);
        match what {
            0 => self.deliver(side, how & 2 != 0),
            1 => {
                let length = usize::from(script.word() % 2048);
                let bytes = script.bytes(length).to_vec();
                self.arrive(script, side, how >> 1, bytes);
            }
            2 | 3 => {
                let bytes = frames::template(script, side);
                self.arrive(script, side, how >> 1, bytes);
            }
            4 | 5 => self.answer(script, how >> 1),
            6 => self.rig.pass(u64::from(script.word()) * 8, 1 + (how & 7) * 8),
            _ if side == 0 => self.rig.change(script.byte()),
            _ => self.rig.learn(script.byte()),
        }
    }

    /// Delivers what has come together for a port.
    fn deliver(&mut self, side: usize, is_handed_over: bool) {
        let arrived = std::mem::take(&mut self.bursts[side]);
        if !arrived.is_empty() {
            self.rig.forward(frames::port(side), is_handed_over, arrived);
        }
    }

    /// A frame, changed a little if `how` says so: some bytes set, checksums made right again, cut in two.
    fn arrive(&mut self, script: &mut Script<'_>, side: usize, how: u8, mut bytes: Vec<u8>) {
        for _ in 0..how & 3 {
            let (at, value) = (usize::from(script.byte()), script.byte());
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if how & 4 == 0 {
            sums::repair(&mut bytes);
        }
        let cut = if how & 8 == 0 { 0 } else { usize::from(script.byte()) };
        self.bursts[side].push(Arrived { bytes, cut });
        if self.bursts[side].len() >= BURST {
            self.deliver(side, false);
        }
    }

    /// Somebody answers what the gateway has sent.
    fn answer(&mut self, script: &mut Script<'_>, how: u8) {
        let (number, bits) = (script.byte(), script.byte());
        let Some((port, sent)) = self.rig.sent(number) else { return };
        let side = port.index();
        if let Some(bytes) = frames::answer(sent, side, bits) {
            self.arrive(script, side, how, bytes);
        }
    }
}
