//! What is sent: the steps that each flow makes, and which flow makes one next.

use std::rc::Rc;

use flow::Side;
use nic::Burst;
use wire::tcp::flags::{ACK, FIN, PSH, SYN};

use super::{
    Case, Family, Scenario,
    course::{Course, Run},
    fault,
    frame::{Pool, PoolFrame},
    gateway::{CLIENT_MAC, PORT_MAC, backend, backend_mac, service},
    template::{Ends, Template},
};
use crate::failure::Failure;

/// TCP connections that are under way at the same time.
const GROUP: u32 = 1024;
/// A whole TCP connection: who sends which segment.
const CONNECTION: [(Side, u8); 10] = [
    (Side::Client, SYN),
    (Side::Backend, SYN | ACK),
    (Side::Client, ACK),
    (Side::Client, PSH | ACK),
    (Side::Backend, ACK),
    (Side::Backend, PSH | ACK),
    (Side::Client, ACK),
    (Side::Client, FIN | ACK),
    (Side::Backend, FIN | ACK),
    (Side::Client, ACK),
];

/// One segment of a script.
pub(super) struct Step {
    /// Who sends it.
    pub(super) side: Side,
    /// Its control bits.
    flags: u8,
    /// The client's; or the backends', by number.
    templates: Vec<Template>,
}

/// Segments without end, or some of them.
#[derive(Clone)]
pub(super) struct Script {
    /// Which comes next.
    pub(super) course: Course,
    /// What each flow sends.
    pub(super) steps: Rc<[Step]>,
    /// The backends of the flows, in the order of the course; of use to steps of backends.
    pub(super) backends: Rc<[u16]>,
    /// Whose packets, of the second step, come in turns with those of the course, of the first one.
    pub(super) flood: Option<Flood>,
}

/// Packets that come in turns with others, as many as those.
#[derive(Clone, Copy)]
pub(super) struct Flood {
    pub(super) course: Course,
    manner: Manner,
    /// How many of the others have come for which none of these has.
    owed: usize,
}

/// How packets come in turns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// One of the one kind, one of the other.
    Mixed,
    /// A burst of the one kind, a burst of the other.
    Apart,
}

impl Script {
    /// What is measured of a case.
    pub(super) fn of(case: &Case) -> Result<Self, Failure> {
        let flows = case.flows;
        let (steps, course) = match case.scenario {
            Scenario::Drops => return Self::dropped(case),
            Scenario::Replies => (vec![(Side::Backend, ACK)], Course::endless(flows)),
            Scenario::New => (vec![(Side::Client, SYN)], Course::once(flows, 1, flows)),
            Scenario::Connections => (CONNECTION.to_vec(), Course::once(flows, CONNECTION.len(), GROUP)),
            _ => (vec![(Side::Client, ACK)], Course::endless(flows)),
        };
        Ok(Self::new(course, steps_of(case, &steps)?))
    }

    /// A client's segment of each flow once, which opens it as established, in the order of the flows' numbers.
    pub(super) fn opening(case: &Case) -> Result<Self, Failure> {
        Ok(Self::new(Course::in_order(case.flows), steps_of(case, &[(Side::Client, ACK)])?))
    }

    /// The client's first segment of each flow, in the order of a script's course: what they become tells its backends.
    pub(super) fn asking(&self, case: &Case) -> Result<Self, Failure> {
        let first = self.steps.iter().find(|step| step.side == Side::Client);
        let flags = first.map_or(ACK, |step| step.flags);
        let order = Course::once(case.flows, 1, case.flows);
        Ok(Self::new(order, steps_of(case, &[(Side::Client, flags)])?))
    }

    /// The first segments of `count` flows that are none of the case's, once; in turns with packets of established ones, or
    /// alone.
    pub(super) fn flood(case: &Case, count: u32, manner: Option<Manner>) -> Result<Self, Failure> {
        let course = Course::once(count, 1, count).beyond(case.flows);
        let Some(manner) = manner else {
            return Ok(Self::new(course, steps_of(case, &[(Side::Client, SYN)])?));
        };
        let steps = steps_of(case, &[(Side::Client, ACK), (Side::Client, SYN)])?;
        Ok(Self {
            flood: Some(Flood { course, manner, owed: 0 }),
            ..Self::new(Course::endless(case.flows), steps)
        })
    }

    fn dropped(case: &Case) -> Result<Self, Failure> {
        let ends = Ends::FromClient { to: service(case.family, 0), macs: (CLIENT_MAC, PORT_MAC) };
        let fault = case.drop.and_then(|reason| fault::find(case.family, reason));
        let template = fault.and_then(|fault| Template::faulty(case.family, ends, ACK, fault));
        let template = template.ok_or_else(no_template)?;
        let steps = vec![Step { side: Side::Client, flags: ACK, templates: vec![template] }];
        Ok(Self::new(Course::endless(case.flows), steps))
    }

    fn new(course: Course, steps: Vec<Step>) -> Self {
        Self { course, steps: steps.into(), backends: Rc::default(), flood: None }
    }

    /// Packets that are not endless.
    pub(super) fn packets(&self) -> u64 {
        self.flood.map_or_else(|| self.course.packets(), |flood| 2 * flood.course.packets())
    }

    /// The same for the flows at the first `positions`, once.
    pub(super) fn first(&self, positions: u32) -> Self {
        let flood = self.flood.map(|flood| Flood { course: flood.course.first(positions), ..flood });
        Self { course: self.course.first(positions), flood, ..self.clone() }
    }

    /// Whether a backend sends any of it.
    pub(super) fn has_replies(&self) -> bool {
        self.steps.iter().any(|step| step.side == Side::Backend)
    }

    /// Hands out the next frames.
    #[inline]
    pub(super) fn receive(&mut self, pool: &Pool, burst: &mut Burst<PoolFrame>, limit: usize) {
        let limit = limit.min(burst.remaining_capacity()).min(pool.len());
        if self.flood.is_some() {
            return self.receive_in_turns(pool, burst, limit);
        }
        let Some(run) = self.course.take(limit) else { return };
        if let Some(step) = self.steps.get(run.step) {
            step.write(run, &self.backends, pool, burst);
        }
    }

    #[inline]
    fn receive_in_turns(&mut self, pool: &Pool, burst: &mut Burst<PoolFrame>, limit: usize) {
        let (Some(flood), [established, first, ..]) = (&mut self.flood, &*self.steps) else { return };
        if flood.owed > 0 {
            if let Some(run) = flood.course.take(limit.min(flood.owed)) {
                flood.owed -= run.count;
                first.write(run, &[], pool, burst);
            }
            return;
        }
        let share = if flood.manner == Manner::Mixed { limit / 2 } else { limit };
        let Some(run) = self.course.take(share.min(flood.course.left())) else { return };
        if flood.manner == Manner::Apart {
            flood.owed = run.count;
            established.write(run, &[], pool, burst);
        } else if let Some(other) = flood.course.take(run.count) {
            write_in_turns((run, other), (established, first), pool, burst);
        }
    }
}

impl Step {
    #[inline]
    fn write(&self, run: Run, backends: &[u16], pool: &Pool, burst: &mut Burst<PoolFrame>) {
        let Some(first) = self.templates.first() else { return };
        let replies = backends.get(run.position..).unwrap_or_default().iter().zip(run.flows());
        let template = |number: u16| self.templates.get(usize::from(number)).unwrap_or(first);
        match (self.side, first.family()) {
            (Side::Client, Family::V4) => {
                pool.hand_out(burst, run.flows(), |frame, flow| first.write_v4::<true>(frame, flow));
            }
            (Side::Client, Family::V6) => {
                pool.hand_out(burst, run.flows(), |frame, flow| first.write_v6::<true>(frame, flow));
            }
            (Side::Backend, Family::V4) => pool.hand_out(burst, replies, |frame, (&backend, flow)| {
                template(backend).write_v4::<false>(frame, flow);
            }),
            (Side::Backend, Family::V6) => pool.hand_out(burst, replies, |frame, (&backend, flow)| {
                template(backend).write_v6::<false>(frame, flow);
            }),
        }
    }
}

/// Packets of two runs by clients in turns, each of its own step.
#[inline]
fn write_in_turns(
    (one, other): (Run, Run),
    steps: (&Step, &Step),
    pool: &Pool,
    burst: &mut Burst<PoolFrame>,
) {
    let (Some(first), Some(second)) = (steps.0.templates.first(), steps.1.templates.first()) else { return };
    let in_turns = one.flows().zip(other.flows()).flat_map(|(one, other)| [(first, one), (second, other)]);
    match first.family() {
        Family::V4 => pool.hand_out(burst, in_turns, |frame, (template, flow)| {
            template.write_v4::<true>(frame, flow);
        }),
        Family::V6 => pool.hand_out(burst, in_turns, |frame, (template, flow)| {
            template.write_v6::<true>(frame, flow);
        }),
    }
}

fn steps_of(case: &Case, segments: &[(Side, u8)]) -> Result<Vec<Step>, Failure> {
    let family = case.family;
    let step = |&(side, flags): &(Side, u8)| {
        let templates = match side {
            Side::Client => {
                let ends = Ends::FromClient { to: service(family, 0), macs: (CLIENT_MAC, PORT_MAC) };
                vec![template(family, ends, flags)?.with_services(case.size.services)]
            }
            Side::Backend => {
                let replies = (0..case.size.backends).map(|number| {
                    let macs = (backend_mac(number), PORT_MAC);
                    template(family, Ends::ToClient { from: backend(family, number), macs }, flags)
                });
                replies.collect::<Result<_, _>>()?
            }
        };
        Ok(Step { side, flags, templates })
    };
    segments.iter().map(step).collect()
}

fn template(family: Family, ends: Ends, flags: u8) -> Result<Template, Failure> {
    Template::try_new(family, ends, flags).ok_or_else(no_template)
}

fn no_template() -> Failure {
    Failure::not_so("a frame to measure with could not be made")
}
