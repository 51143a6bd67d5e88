//! Makes the declarations from the installed headers of DPDK and builds the shims.
//!
//! DPDK is found by `pkg-config`. The same `-march` goes to the C compiler and to clang, which bindgen uses: inline
//! functions and alignments in the headers depend on it.

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};

/// The series whose structure layouts and inline functions the `dpdk` crate relies on.
const SERIES: &str = "22.11";

/// The libraries whose symbols are used. PMDs are plug-ins that EAL loads by itself.
const LIBRARIES: &[&str] = &["rte_ethdev", "rte_mbuf", "rte_mempool", "rte_eal"];

const FUNCTIONS: &[&str] = &[
    "shim_.*",
    "rte_version",
    "rte_strerror",
    "rte_eal_(init|cleanup|remote_launch|wait_lcore|get_lcore_state|get_runtime_dir|hotplug_add|hotplug_remove)",
    "rte_log_(set_global_level|set_level_pattern)",
    "rte_get_tsc_hz",
    "rte_socket_id_by_idx",
    "rte_pktmbuf_(pool_create|free_bulk)",
    "rte_mempool_(free|in_use_count|lookup)",
    "rte_eth_call_(rx|tx)_callbacks",
    "rte_eth_dev_(configure|start|stop|close|info_get|get_port_by_name|get_mtu|set_mtu|socket_id)",
    "rte_eth_dev_(adjust_nb_rx_tx_desc|default_mac_addr_set|rss_hash_conf_get|rss_reta_query)",
    "rte_eth_(rx|tx)_queue_setup",
    "rte_eth_(macaddr_get|link_get_nowait|stats_get|promiscuous_enable|allmulticast_enable)",
    "rte_eth_(add|remove)_(rx|tx)_callback",
];

const VARIABLES: &[&str] = &["SHIM_.*", "rte_eth_fp_ops", "RTE_ETH_RETA_GROUP_SIZE", "RTE_PKTMBUF_HEADROOM"];

/// Packed and aligned at once, which Rust cannot say; nothing here looks into them.
const OPAQUE: &[&str] =
    &["rte_arp_hdr", "rte_arp_ipv4", "rte_gtp_psc_generic_hdr", "rte_l2tpv2_combined_msg_hdr"];

fn main() -> Result<(), Box<dyn Error>> {
    for input in ["build.rs", "shim/shim.h", "shim/shim.c"] {
        println!("cargo::rerun-if-changed={input}");
    }
    let dpdk = find_dpdk()?;
    let flags = compiler_flags()?;
    build_shims(&flags);
    declare(&flags, &PathBuf::from(env::var("OUT_DIR")?).join("declarations.rs"))?;
    for path in &dpdk.link_paths {
        println!("cargo::rustc-link-search=native={}", path.display());
    }
    for library in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
    Ok(())
}

/// DPDK as pkg-config describes it, or what to do about its absence.
fn find_dpdk() -> Result<pkg_config::Library, Box<dyn Error>> {
    let dpdk = pkg_config::Config::new().cargo_metadata(false).probe("libdpdk").map_err(|cause| {
        format!(
            "DPDK {SERIES} was not found by pkg-config. On Debian 12: \
             apt install dpdk dpdk-dev libdpdk-dev libclang-dev clang pkg-config. The cause: {cause}"
        )
    })?;
    if dpdk.version.starts_with(SERIES) {
        return Ok(dpdk);
    }
    Err(format!(
        "DPDK {SERIES} is needed, pkg-config found {}: point PKG_CONFIG_PATH to an installation of {SERIES}",
        dpdk.version
    )
    .into())
}

/// pkg-config's compiler flags, unparsed: the crate of that name drops `-march` and `-include`.
fn compiler_flags() -> Result<Vec<String>, Box<dyn Error>> {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".to_owned());
    let output = std::process::Command::new(program).args(["--cflags", "libdpdk"]).output()?;
    Ok(String::from_utf8(output.stdout)?.split_whitespace().map(str::to_owned).collect())
}

fn build_shims(flags: &[String]) {
    let mut build = cc::Build::new();
    build.file("shim/shim.c").opt_level(2).warnings(true);
    for flag in flags {
        build.flag(flag);
    }
    build.compile("tidegate_shim");
}

fn declare(flags: &[String], to: &Path) -> Result<(), Box<dyn Error>> {
    let mut builder = bindgen::Builder::default()
        .header("shim/shim.h")
        .clang_args(flags)
        .use_core()
        .generate_comments(false)
        .merge_extern_blocks(true)
        .wrap_unsafe_ops(true)
        .prepend_enum_name(false)
        .derive_default(true);
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    for variable in VARIABLES {
        builder = builder.allowlist_var(variable);
    }
    for name in OPAQUE {
        builder = builder.opaque_type(name);
    }
    builder.generate()?.write_to_file(to)?;
    Ok(())
}
