//! Huge pages.

use config::Hugepages;

use super::{Finding, machine::Machine, wanted::Wanted};

const CHECK: &str = "hugepages";

pub(super) fn check(machine: &Machine, wanted: &Wanted) -> Vec<Finding> {
    if wanted.hugepages == Hugepages::Off {
        return without(wanted).into_iter().collect();
    }
    let free_mib = free_mib(machine, "sys/kernel/mm/hugepages");
    let needed_mib = wanted.memory_mib.map_or(1, i64::from);
    if free_mib < needed_mib {
        return vec![too_few(machine, wanted, free_mib)];
    }
    nodes(machine, wanted, needed_mib)
}

/// Without huge pages, and with cards.
fn without(wanted: &Wanted) -> Option<Finding> {
    let (whose, card) = wanted.cards.first()?;
    Some(Finding::warning(
        CHECK,
        format!(
            "{whose} is the card {card}, which works without huge pages with an IOMMU only, and is slower"
        ),
        "in the configuration: eal: { hugepages: auto }",
    ))
}

fn free_mib(machine: &Machine, directory: &str) -> i64 {
    let free = |name: &String| {
        let kib: i64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        Some(kib * machine.number(&format!("{directory}/{name}/free_hugepages"))? / 1024)
    };
    machine.names(directory).iter().filter_map(free).sum()
}

fn too_few(machine: &Machine, wanted: &Wanted, free_mib: i64) -> Finding {
    /// What a gateway with two ports wants.
    const USUAL_MIB: i64 = 256;
    let needed_mib = wanted.memory_mib.map_or(USUAL_MIB, i64::from);
    let there = machine.number("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages").unwrap_or(0);
    let more = pages(needed_mib - free_mib);
    let what = match wanted.memory_mib {
        Some(needed) => format!(
            "the gateway wants {needed} MiB of packet memory, and {free_mib} MiB of huge pages are free"
        ),
        None => "no huge pages are free: packet memory lies in ordinary pages, which are slower".to_owned(),
    };
    let remedy = format!("sysctl -w vm.nr_hugepages={}", there + more);
    if wanted.hugepages == Hugepages::On {
        Finding::error(CHECK, what, remedy)
    } else {
        Finding::warning(CHECK, what, remedy)
    }
}

/// How many pages so many MiB are: of 2 MiB, which every kernel for this processor has.
const fn pages(mib: i64) -> i64 {
    mib / 2 + mib % 2
}

/// There must be pages beside the cards.
fn nodes(machine: &Machine, wanted: &Wanted, needed_mib: i64) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (whose, card) in &wanted.cards {
        let node = machine.number(&format!("sys/bus/pci/devices/{card}/numa_node")).filter(|node| *node >= 0);
        let Some(node) = node else { continue };
        let directory = format!("sys/devices/system/node/node{node}/hugepages");
        let free_mib = free_mib(machine, &directory);
        if !machine.has(&directory) || free_mib >= needed_mib {
            continue;
        }
        let file = format!("{directory}/hugepages-2048kB/nr_hugepages");
        let pages = machine.number(&file).unwrap_or(0) + pages(needed_mib - free_mib);
        findings.push(Finding::warning(
            CHECK,
            format!(
                "{whose}: {free_mib} MiB of huge pages are free on NUMA node {node}, where the card {card} is"
            ),
            format!("echo {pages} > /{file}"),
        ));
    }
    findings.dedup();
    findings
}
