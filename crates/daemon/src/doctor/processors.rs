//! The processors that workers run on.

use super::{
    Finding,
    cards::boot_with,
    machine::{Machine, as_list, numbers},
    wanted::Wanted,
};

pub(super) fn check(machine: &Machine, wanted: &Wanted) -> Vec<Finding> {
    let online = machine.list("sys/devices/system/cpu/online");
    let workers = wanted.workers.clone().unwrap_or_else(|| online.clone());
    let missing: Vec<u32> =
        workers.iter().copied().filter(|cpu| !online.is_empty() && !online.contains(cpu)).collect();
    if !missing.is_empty() {
        let what = format!("workers.lcores asks for processors that are not there: {}", as_list(&missing));
        let remedy = format!("in the configuration, of {}: workers: {{ lcores: […] }}", as_list(&online));
        return vec![Finding::error("lcores", what, remedy)];
    }
    let mut findings = Vec::new();
    findings.extend(governor(machine, &workers));
    if wanted.workers.is_some() {
        findings.extend(siblings(machine, &workers));
        // In software the kernel has as much to do on them as the worker.
        if !wanted.cards.is_empty() {
            findings.extend(isolated(machine, &workers));
        }
    }
    findings
}

fn governor(machine: &Machine, workers: &[u32]) -> Option<Finding> {
    let governor =
        |cpu: u32| machine.text(&format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_governor"));
    let slow: Vec<(u32, String)> = workers
        .iter()
        .filter_map(|cpu| Some((*cpu, governor(*cpu)?)))
        .filter(|(_, governor)| governor != "performance")
        .collect();
    let (_, name) = slow.first()?;
    let processors: Vec<u32> = slow.iter().map(|(cpu, _)| *cpu).collect();
    let what =
        format!("the governor {name} slows processors down that have little to do: {}", as_list(&processors));
    let braces = match processors.as_slice() {
        [one] => one.to_string(),
        many => format!("{{{}}}", many.iter().map(u32::to_string).collect::<Vec<_>>().join(",")),
    };
    let files = format!("/sys/devices/system/cpu/cpu{braces}/cpufreq/scaling_governor");
    Some(Finding::warning("governor", what, format!("echo performance | tee {files}")))
}

/// Two workers on one core have half of it each.
fn siblings(machine: &Machine, workers: &[u32]) -> Option<Finding> {
    let of =
        |cpu: u32| machine.text(&format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
    let pair = workers.iter().enumerate().find_map(|(position, cpu)| {
        let siblings = numbers(&of(*cpu)?);
        let other = workers.iter().skip(position + 1).find(|other| siblings.contains(other))?;
        Some([*cpu, *other])
    })?;
    let online = machine.list("sys/devices/system/cpu/online");
    let is_first = |cpu: &u32| of(*cpu).is_none_or(|list| numbers(&list).first() == Some(cpu));
    let cores: Vec<String> = online
        .iter()
        .copied()
        .filter(is_first)
        .skip(1)
        .take(workers.len())
        .map(|cpu| cpu.to_string())
        .collect();
    let what = format!("two workers share a core: processors {} are two threads of it", as_list(&pair));
    Some(Finding::warning(
        "lcores",
        what,
        format!("in the configuration: workers: {{ lcores: [{}] }}", cores.join(", ")),
    ))
}

/// A worker of cards is never idle: what else runs there waits, and makes packets wait.
fn isolated(machine: &Machine, workers: &[u32]) -> Option<Finding> {
    let isolated = machine.list("sys/devices/system/cpu/isolated");
    let shared: Vec<u32> = workers.iter().copied().filter(|cpu| !isolated.contains(cpu)).collect();
    if shared.is_empty() {
        return None;
    }
    let mut all: Vec<u32> = isolated.iter().chain(&shared).copied().collect();
    all.sort_unstable();
    let list = as_list(&all);
    let what = format!("the kernel runs other things on processors of workers: {}", as_list(&shared));
    Some(Finding::warning(
        "isolation",
        what,
        boot_with(&format!("isolcpus={list} nohz_full={list} rcu_nocbs={list}")),
    ))
}
