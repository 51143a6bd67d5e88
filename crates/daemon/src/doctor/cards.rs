//! Cards: whether they are there, whose they are, and where.

use super::{
    Finding,
    machine::{Machine, as_list},
    wanted::Wanted,
};

/// Drivers that DPDK's own work beside (`librte_net_mlx4`, `librte_net_mlx5`, `librte_net_mana`): the card stays with the kernel.
const SHARED: [&str; 3] = ["mlx4_core", "mlx5_core", "mana"];
/// Drivers that give cards to processes without an IOMMU.
const WITHOUT_IOMMU: [&str; 2] = ["igb_uio", "uio_pci_generic"];
const VFIO: &str = "vfio-pci";

pub(super) fn check(machine: &Machine, wanted: &Wanted) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut wants_vfio = false;
    for (whose, card) in &wanted.cards {
        if machine.has(&format!("sys/bus/pci/devices/{card}")) {
            let driver = machine.link(&format!("sys/bus/pci/devices/{card}/driver"));
            wants_vfio |= driver.as_deref().is_none_or(|driver| driver == VFIO || !is_fit(driver));
            findings.extend(self::driver(machine, whose, card, driver.as_deref()));
            findings.extend(parent(machine, whose, card));
            findings.extend(node(machine, wanted, whose, card));
        } else {
            findings.push(missing(machine, whose, card));
        }
    }
    if wants_vfio {
        findings.extend(vfio(machine));
    }
    findings
}

fn is_fit(driver: &str) -> bool {
    driver == VFIO || SHARED.contains(&driver) || WITHOUT_IOMMU.contains(&driver)
}

/// A card that is not there: perhaps a virtual function that nobody has made.
fn missing(machine: &Machine, whose: &str, card: &str) -> Finding {
    let what = format!("{whose}: there is no card {card}");
    let parents = machine.names("sys/bus/pci/devices").into_iter().filter(|parent| {
        let of_parent = |file: &str| machine.number(&format!("sys/bus/pci/devices/{parent}/{file}"));
        // Functions of a card are on its bus, or on the next ones.
        is_near(parent, card)
            && of_parent("sriov_totalvfs").is_some_and(|total| total > 0)
            && of_parent("sriov_numvfs") == Some(0)
    });
    match parents.into_iter().next() {
        Some(parent) => Finding::error(
            "vfs",
            format!("{what}; {parent} could have virtual functions, and has none"),
            format!("echo 4 > /sys/bus/pci/devices/{parent}/sriov_numvfs"),
        ),
        None => Finding::error("card", what, "lspci -D | grep -i ethernet"),
    }
}

/// Whether two addresses are of the same domain, and of buses next to each other.
fn is_near(one: &str, other: &str) -> bool {
    let parts = |address: &str| {
        let (domain, rest) = address.split_once(':')?;
        Some((domain.to_owned(), u8::from_str_radix(rest.get(..2)?, 16).ok()?))
    };
    let (Some((domain, bus)), Some((another, later))) = (parts(one), parts(other)) else { return false };
    domain == another && (bus..=bus.saturating_add(3)).contains(&later)
}

fn driver(machine: &Machine, whose: &str, card: &str, driver: Option<&str>) -> Option<Finding> {
    let bind = format!("dpdk-devbind.py --bind={VFIO} {card}");
    let Some(driver) = driver else {
        return Some(Finding::error("driver", format!("{whose}: the card {card} has no driver"), bind));
    };
    if is_fit(driver) {
        return None;
    }
    let interfaces = machine.names(&format!("sys/bus/pci/devices/{card}/net")).join(", ");
    let used = if interfaces.is_empty() { String::new() } else { format!(", as {interfaces}") };
    let what = format!("{whose}: the kernel uses the card {card} itself, with the driver {driver}{used}");
    Some(Finding::error("driver", what, bind))
}

/// The card that a virtual function is of must be up.
fn parent(machine: &Machine, whose: &str, card: &str) -> Option<Finding> {
    /// What `ip link set dev … up` sets (IFF_UP of netdevice(7)).
    const UP: u32 = 1;
    let parent = machine.link(&format!("sys/bus/pci/devices/{card}/physfn"))?;
    let interface = machine.names(&format!("sys/bus/pci/devices/{parent}/net")).into_iter().next()?;
    let flags = machine.text(&format!("sys/class/net/{interface}/flags"))?;
    let flags = u32::from_str_radix(flags.trim_start_matches("0x"), 16).ok()?;
    let what = format!("{whose}: {card} is a virtual function of {interface} ({parent}), which is down");
    (flags & UP == 0).then(|| Finding::error("vfs", what, format!("ip link set dev {interface} up")))
}

/// Workers are to be on the card's NUMA node.
fn node(machine: &Machine, wanted: &Wanted, whose: &str, card: &str) -> Option<Finding> {
    let workers = wanted.workers.as_ref()?;
    let node = machine.number(&format!("sys/bus/pci/devices/{card}/numa_node")).filter(|node| *node >= 0)?;
    let near = machine.list(&format!("sys/devices/system/node/node{node}/cpulist"));
    let far: Vec<u32> = workers.iter().copied().filter(|cpu| !near.contains(cpu)).collect();
    if near.is_empty() || far.is_empty() {
        return None;
    }
    let better: Vec<String> =
        near.iter().filter(|cpu| **cpu != 0).take(workers.len()).map(u32::to_string).collect();
    let what = format!(
        "{whose}: the card {card} is on NUMA node {node}, and workers run on processors of another one: {}",
        as_list(&far)
    );
    Some(Finding::warning(
        "numa",
        what,
        format!("in the configuration: workers: {{ lcores: [{}] }}", better.join(", ")),
    ))
}

/// vfio wants its module and an IOMMU.
fn vfio(machine: &Machine) -> Option<Finding> {
    if !machine.has(&format!("sys/bus/pci/drivers/{VFIO}")) {
        return Some(Finding::error(
            "vfio",
            format!("the driver {VFIO} is not loaded"),
            format!("modprobe {VFIO}"),
        ));
    }
    if !machine.names("sys/kernel/iommu_groups").is_empty() {
        return None;
    }
    let without = "sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
    if machine.text(without).as_deref() == Some("Y") {
        return None;
    }
    let is_virtual = machine.text("proc/cpuinfo").is_some_and(|text| text.contains("hypervisor"));
    if is_virtual {
        let what =
            "this virtual machine has no IOMMU: vfio gives no card away, unless it is told to do without";
        return Some(Finding::error("iommu", what, format!("echo Y > /{without}")));
    }
    let of_vendor = match machine.text("proc/cpuinfo") {
        Some(text) if text.contains("AuthenticAMD") => "amd_iommu=on iommu=pt",
        _ => "intel_iommu=on iommu=pt",
    };
    Some(Finding::error(
        "iommu",
        "the IOMMU is off: vfio gives no card away (it may be off in the firmware, too)",
        boot_with(of_vendor),
    ))
}

/// Boots with more arguments for the kernel.
pub(super) fn boot_with(arguments: &str) -> String {
    format!("sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{arguments} /' /etc/default/grub && update-grub && reboot")
}
