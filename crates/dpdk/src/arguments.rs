//! The command line that EAL is started with, made from [`EalOptions`].

use crate::EalOptions;

/// EAL's arguments, program name first.
///
/// `cpus` is the list of processors that this process may use, as the kernel writes it (`0-3,6`): the starting
/// thread (lcore 0) floats over it, or is pinned to `options.control`; workers are lcores 1, 2, … pinned to one each.
pub(crate) fn build(options: &EalOptions, prefix: &str, hugepages: bool, cpus: &str) -> Vec<String> {
    let mut arguments = vec!["tidegate".to_owned(), "--lcores".to_owned(), lcores(options, cpus)];
    arguments.extend(["--main-lcore", "0", "--file-prefix", prefix, "-m"].map(str::to_owned));
    arguments.push(options.memory_mib.to_string());
    if hugepages {
        // No files at all, neither in the huge page mount nor for secondary processes.
        arguments.push("--in-memory".to_owned());
    } else {
        arguments.extend(["--no-huge", "--no-shconf"].map(str::to_owned));
    }
    if !options.telemetry {
        arguments.push("--no-telemetry".to_owned());
    }
    arguments.extend(["--log-level", "warning"].map(str::to_owned));
    arguments.extend(devices(options));
    arguments.extend(options.arguments.iter().cloned());
    arguments
}

/// `0@(0-3),1@2,2@3`: lcore ids are consecutive, so that processor numbers may exceed what DPDK counts.
fn lcores(options: &EalOptions, cpus: &str) -> String {
    let control = options.control.map_or_else(|| cpus.to_owned(), |cpu| cpu.to_string());
    let mut text = format!("0@({control})");
    for (worker, cpu) in options.workers.iter().enumerate() {
        text.push_str(&format!(",{}@{cpu}", worker + 1));
    }
    text
}

/// Only the cards that were asked for; virtual devices are attached when their port is opened.
fn devices(options: &EalOptions) -> Vec<String> {
    let cards: Vec<_> = options.devices.iter().filter(|device| device.is_pci()).collect();
    if cards.is_empty() {
        return ["--no-pci", "--iova-mode=va"].map(str::to_owned).to_vec();
    }
    cards.iter().flat_map(|card| ["-a".to_owned(), card.to_string()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;

    const SOFTWARE: &str = "tidegate --lcores 0@(0-3),1@2,2@3 --main-lcore 0 --file-prefix p -m 64 \
        --no-huge --no-shconf --no-telemetry --log-level warning --no-pci --iova-mode=va --trace=x";
    const HARDWARE: &str = "tidegate --lcores 0@(1) --main-lcore 0 --file-prefix p -m 512 \
        --in-memory --log-level warning -a 0000:3b:02.0 -a 0000:3b:02.1,x=1";

    #[test]
    fn software_mode_touches_no_bus() {
        let options = EalOptions {
            workers: vec![2, 3],
            memory_mib: 64,
            devices: vec![Device::parse("net_tap0").unwrap()],
            arguments: vec!["--trace=x".to_owned()],
            ..EalOptions::default()
        };
        assert_eq!(build(&options, "p", false, "0-3").join(" "), SOFTWARE);
    }

    #[test]
    fn hardware_mode_names_each_card() {
        let options = EalOptions {
            control: Some(1),
            memory_mib: 512,
            telemetry: true,
            devices: ["3b:02.0", "net_tap0", "3b:02.1,x=1"].map(|text| Device::parse(text).unwrap()).to_vec(),
            ..EalOptions::default()
        };
        assert_eq!(build(&options, "p", true, "0-3").join(" "), HARDWARE);
    }
}
