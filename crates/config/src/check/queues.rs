//! Queues: each worker polls one queue of each port, and no queue is left unpolled.

use std::collections::BTreeSet;

use crate::{
    mistake::{Findings, Place},
    raw::{Auto, AutoWord, File, Given, Port},
    text::{Device, device_id},
    words::quoted,
};

pub(super) fn check(file: &File, findings: &mut Findings) {
    let Some(workers) = Workers::of(file) else {
        return;
    };
    for (_, port) in file.ports.items() {
        if !of_device(port, &workers, findings) {
            of_port(port, &workers, findings);
        }
    }
}

/// How many workers there will be, as far as the file decides that.
struct Workers {
    number: usize,
    /// The list of lcores; `None` when `auto` makes it one worker.
    listed: Option<Place>,
}

impl Workers {
    fn of(file: &File) -> Option<Self> {
        let (place, lcores) = match &file.workers {
            Given::Absent => (None, Auto::Word(AutoWord::Auto)),
            Given::Mistaken => return None,
            Given::At(_, workers) => {
                (workers.lcores.at().map(|at| at.0), workers.lcores.or(Auto::Word(AutoWord::Auto))?)
            }
        };
        match lcores {
            Auto::Value(list) => {
                let lcores: BTreeSet<u16> =
                    list.iter().map(|lcore| Some(lcore.value()?.0)).collect::<Option<_>>()?;
                let number = Some(lcores.len()).filter(|number| (1..=model::MAX_WORKERS).contains(number))?;
                Some(Self { number, listed: Some(place?) })
            }
            // How many processors a machine with cards has is not for the file to know.
            Auto::Word(_) => is_software(file).then_some(Self { number: 1, listed: None }),
        }
    }

    fn in_words(&self) -> String {
        match self.number {
            1 if self.listed.is_none() => "`lcores: auto` is one worker where no port is a card".to_owned(),
            1 => "there is one worker".to_owned(),
            number => format!("there are {number} workers"),
        }
    }
}

/// Whether no port is a card, or may be.
fn is_software(file: &File) -> bool {
    let is_vdev = |port: &Port| port.device.value().is_some_and(|device| !device_id(&device.0).contains(':'));
    !file.ports.is_partly_mistaken() && file.ports.items().all(|(_, port)| is_vdev(port))
}

/// Reports a device that cannot have a queue for each worker. Whether it did.
fn of_device(port: &Port, workers: &Workers, findings: &mut Findings) -> bool {
    let Some((place, Device(device))) = port.device.at() else {
        return false;
    };
    let (head, arguments) = device.split_once(',').unwrap_or((device, ""));
    let (true, Some(listed)) = (workers.number > 1 && head.starts_with("net_af_xdp"), workers.listed) else {
        return false;
    };
    let message = format!("{} has one queue, and {}", quoted(head), workers.in_words());
    let instead = head.replacen("xdp", "packet", 1);
    let remedy = format!(
        "use `{instead},{arguments}`, or name one lcore in `workers.lcores` (line {})",
        findings.line(listed)
    );
    findings.add_at(place, message, remedy);
    true
}

/// Reports queues that are not as many as the workers.
fn of_port(port: &Port, workers: &Workers, findings: &mut Findings) {
    let Some((place, Auto::Value(queues))) = port.queues.at() else {
        return;
    };
    let queues = usize::from(queues.0);
    if queues == workers.number {
        return;
    }
    let message = format!("`queues: {queues}`, but {}", workers.in_words());
    let lcores = if queues == 1 { "one lcore".to_owned() } else { format!("{queues} lcores") };
    let line = workers.listed.map(|place| format!(" (line {})", findings.line(place))).unwrap_or_default();
    let remedy = format!("write `auto` for a queue a worker, or name {lcores} in `workers.lcores`{line}");
    findings.add_at(place, message, remedy);
}
