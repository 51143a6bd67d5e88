//! Looks at all that a worker sends.

use model::Mode;

use super::{
    Case, Family, Size,
    clients::client,
    course::Course,
    gateway::{backend, service, service_of, snat_addresses},
    script::Script,
    verify::{Expected, Sent, take_out, verify},
};

/// What was seen of the frames that a script's frames became.
pub(super) struct Watch {
    course: Course,
    /// Whose packets are mixed with the course's, one by one.
    flood: Option<Course>,
    /// Whether the next one is of the flood.
    is_flood: bool,
    sides: Vec<flow::Side>,
    mode: Mode,
    family: Family,
    flows: u32,
    size: Size,
    snat_addresses: u32,
    /// Frames seen.
    pub(super) frames: u64,
    /// The backends that frames were for, in their order.
    pub(super) backends: Vec<u16>,
    /// The first thing that was wrong.
    pub(super) mistake: Option<String>,
}

impl Watch {
    /// Nothing seen of a script yet.
    pub(super) fn new(case: &Case, script: &Script) -> Self {
        Self {
            course: script.course,
            flood: script.flood.map(|flood| flood.course),
            is_flood: false,
            sides: script.steps.iter().map(|step| step.side).collect(),
            mode: case.mode,
            family: case.family,
            flows: case.flows,
            size: case.size,
            snat_addresses: snat_addresses(case),
            frames: 0,
            backends: Vec::new(),
            mistake: None,
        }
    }

    /// Sees the next frame. Frames leave in the order in which they came.
    pub(super) fn see(&mut self, frame: &[u8]) {
        self.frames += 1;
        let run = match &mut self.flood {
            Some(flood) if self.is_flood => flood.take(1),
            _ => self.course.take(1),
        };
        self.is_flood = self.flood.is_some() && !self.is_flood;
        let next = run.and_then(|run| Some((run.flows().next()?, *self.sides.get(run.step)?)));
        let verdict = match next {
            Some((flow, side)) => self.verify(frame, flow, side),
            None => Err("more frames left than came".to_owned()),
        };
        if let Err(mistake) = verdict {
            let number = self.frames;
            self.mistake.get_or_insert_with(|| format!("frame {number}: {mistake}: {frame:02x?}"));
        }
    }

    fn verify(&mut self, frame: &[u8], flow: u32, side: flow::Side) -> Result<(), String> {
        let expected = Expected {
            mode: self.mode,
            family: self.family,
            snat_addresses: self.snat_addresses,
            backends: self.size.backends,
            service: service(self.family, service_of(flow, self.size.services)),
            side,
            client: client(self.family, flow),
        };
        let (frame, outer) = take_out(frame, self.mode, self.family)?;
        let sent = Sent::read(&frame, self.family)?;
        verify(&sent, &expected)?;
        let chosen = sent.backend().map(|number| backend(self.family, number).ip());
        if outer.is_some() && outer != chosen {
            return Err("its outer header is for another backend than its MAC address".to_owned());
        }
        // Of the flood nobody asks again.
        if flow < self.flows && side == flow::Side::Client {
            self.backends.extend(sent.backend());
        }
        Ok(())
    }
}
