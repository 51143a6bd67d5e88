//! Cores: each has one task.

use crate::{
    mistake::Findings,
    raw::{Auto, File, Given},
};

use super::Firsts;

pub(super) fn check(file: &File, findings: &mut Findings) {
    let workers = file.workers.value();
    let lcores = workers.and_then(|workers| workers.lcores.at());
    let Some((place, Auto::Value(lcores))) = lcores else {
        return;
    };
    if lcores.is_empty() {
        findings.add_at(place, "`lcores` names no lcore", "write `auto` or a list such as `[1, 2]`");
    }
    if lcores.len() > model::MAX_WORKERS {
        let message = format!(
            "{} workers are more than the {} that a gateway can have",
            lcores.len(),
            model::MAX_WORKERS
        );
        findings.add_at(place, message, format!("remove {}", lcores.len() - model::MAX_WORKERS));
    }
    let mut firsts = Firsts::new();
    for (place, lcore) in lcores.iter().filter_map(Given::at) {
        if firsts.before(lcore.0, place).is_some() {
            let message = format!("lcore {} is there twice", lcore.0);
            findings.add_at(place, message, "remove one: an lcore is one worker");
        }
    }
    let control = file.control.value().and_then(|control| control.lcore.at());
    if let Some((place, Auto::Value(lcore))) = control
        && firsts.before(lcore.0, place).is_some()
    {
        let message = format!("lcore {} is control's and a worker's", lcore.0);
        findings.add_at(place, message, "write `auto`, or an lcore that is not in `workers.lcores`");
    }
}
