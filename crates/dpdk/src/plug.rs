//! Attaching virtual devices, and finding the port that DPDK made of a device.

use crate::error::c_string;
use crate::{Device, Failure, PortError, log};

/// Attaches the device if it is a virtual one; DPDK's number of its port.
pub(crate) fn plug(device: &Device) -> Result<u16, PortError> {
    let mark = log::mark();
    let _captured = log::capture_output();
    if !device.is_pci() {
        attach(device, mark)?;
    }
    find(device, mark).inspect_err(|_| unplug(device))
}

/// Detaches the device if it is a virtual one; its port is closed.
pub(crate) fn unplug(device: &Device) {
    if device.is_pci() {
        return;
    }
    let Ok(name) = c_string(device.name()) else { return };
    // SAFETY: EAL is running, the texts are NUL-terminated, and the device has no open port.
    let _ = unsafe { dpdk_sys::rte_eal_hotplug_remove(c"vdev".as_ptr(), name.as_ptr()) };
}

/// Attaches a virtual device; one that is there already (from EAL's own arguments) is fine.
fn attach(device: &Device, mark: log::Mark) -> Result<(), PortError> {
    let failed = |failure| PortError::Attach { device: device.to_string(), failure };
    let invalid = |_| failed(Failure::invalid());
    let name = c_string(device.name()).map_err(invalid)?;
    let arguments = c_string(device.arguments()).map_err(invalid)?;
    // SAFETY: EAL is running; the three texts are NUL-terminated and copied.
    let result =
        unsafe { dpdk_sys::rte_eal_hotplug_add(c"vdev".as_ptr(), name.as_ptr(), arguments.as_ptr()) };
    const EXISTS: i32 = -17;
    if result == 0 || result == EXISTS { Ok(()) } else { Err(failed(Failure::from_result(result, mark))) }
}

/// DPDK's number of the device's port.
fn find(device: &Device, mark: log::Mark) -> Result<u16, PortError> {
    let absent = |failure| PortError::Absent { device: device.to_string(), failure };
    let name = c_string(device.name()).map_err(|_| absent(Failure::invalid()))?;
    let mut id = 0;
    // SAFETY: `name` is NUL-terminated and `id` is writable.
    let result = unsafe { dpdk_sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &raw mut id) };
    if result == 0 { Ok(id) } else { Err(absent(Failure::from_result(result, mark))) }
}
