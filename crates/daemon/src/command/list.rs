//! `tidegate virtual-server|pool|backend|flow|worker|port|drop list`
//!
//! JSON and YAML are what the gateway answered, whole; a table shows what fits and what a person asks first.

use std::net::SocketAddr;

use control::view;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::print;
use crate::{
    arguments::{FlowList, Format, List},
    client,
    failure::Failure,
    table::{
        Align::{Left, Name, Right},
        Table, bytes, count, duration, latency,
    },
};

/// Lists the virtual servers.
pub(crate) fn virtual_servers(list: &List) -> Result<(), Failure> {
    let columns = [
        ("NAME", Name),
        ("PROTO", Left),
        ("ADDRESS", Left),
        ("MODE", Left),
        ("POOL", Name),
        ("STATE", Left),
        ("FLOWS", Right),
        ("OPENED", Right),
        ("IN", Right),
        ("OUT", Right),
    ];
    show(list, "/v1/virtual-servers", "no virtual servers", &columns, |server: &view::VirtualServer| {
        let traffic = &server.traffic;
        vec![
            server.name.clone(),
            word(&server.protocol),
            reach(server),
            word(&server.mode),
            server.pool.clone(),
            available(server.available),
            count(traffic.flows),
            count(traffic.flows_opened),
            bytes(traffic.bytes_in),
            bytes(traffic.bytes_out),
        ]
    })
}

/// The addresses and ports that clients send to.
fn reach(server: &view::VirtualServer) -> String {
    let is_one = server.length == if server.address.is_ipv4() { 32 } else { 128 };
    let port = if server.port == 0 { "any".to_owned() } else { server.port.to_string() };
    match server.address {
        _ if is_one && server.port != 0 => SocketAddr::new(server.address, server.port).to_string(),
        address if is_one => format!("{address} port {port}"),
        address => format!("{address}/{} port {port}", server.length),
    }
}

/// Lists the pools.
pub(crate) fn pools(list: &List) -> Result<(), Failure> {
    let columns = [("POOL", Name), ("METHOD", Left), ("STATE", Left), ("UP", Right), ("FLOWS", Right)];
    show(list, "/v1/pools", "no pools", &columns, |pool: &view::Pool| {
        vec![
            pool.name.clone(),
            word(&pool.method),
            available(pool.available),
            format!("{} of {}", pool.up, pool.backends),
            count(pool.flows),
        ]
    })
}

/// Lists the backends.
pub(crate) fn backends(list: &List) -> Result<(), Failure> {
    let columns = [
        ("POOL", Name),
        ("BACKEND", Left),
        ("WEIGHT", Right),
        ("STATE", Left),
        ("HEALTH", Left),
        ("FLOWS", Right),
        ("OPENED", Right),
        ("IN", Right),
        ("OUT", Right),
        ("CAUSE", Name),
    ];
    show(list, "/v1/backends", "no backends", &columns, |backend: &view::Backend| {
        let traffic = &backend.traffic;
        vec![
            backend.pool.clone(),
            backend.address.to_string(),
            backend.weight.to_string(),
            word(&backend.state),
            word(&backend.health),
            count(traffic.flows),
            count(traffic.flows_opened),
            bytes(traffic.bytes_in),
            bytes(traffic.bytes_out),
            backend.cause.clone().unwrap_or_default(),
        ]
    })
}

/// Lists the flows that are tracked, and says at the end when there are more.
pub(crate) fn flows(arguments: &FlowList) -> Result<(), Failure> {
    let columns = [
        ("PROTO", Left),
        ("CLIENT", Left),
        ("SERVICE", Left),
        ("BACKEND", Left),
        ("MODE", Left),
        ("STATE", Left),
        ("AGE", Right),
        ("IDLE", Right),
        ("W", Right),
    ];
    let FlowList { list, limit } = arguments;
    let answer = client::get(&list.socket, &format!("/v1/flows?limit={limit}"))?;
    if list.output != Format::Table {
        return whole(list, &answer);
    }
    let answer: view::Flows = parse(list, &answer)?;
    tabulate(&columns, &answer.flows, "no flows", |flow: &view::Flow| {
        vec![
            flow.protocol.clone(),
            end(flow.client),
            end(flow.service),
            flow.backend.map_or_else(|| "(removed)".to_owned(), |backend| backend.to_string()),
            word(&flow.mode),
            word(&flow.state),
            duration(flow.age_ms.into()),
            duration(flow.idle_ms.into()),
            flow.worker.to_string(),
        ]
    })?;
    more_flows(&answer, *limit).map_or(Ok(()), |text| print(&text))
}

/// An end of a flow; its address alone where packets have no ports.
fn end(of: SocketAddr) -> String {
    if of.port() == 0 { of.ip().to_string() } else { of.to_string() }
}

/// What a table does not show.
fn more_flows(answer: &view::Flows, limit: u64) -> Option<String> {
    let view::Flows { total, shown, .. } = answer;
    let most = (*total).min(control::MAX_FLOWS as u64);
    // Below the limit, some ended while they were counted.
    (shown < total && *shown >= limit).then(|| match most > limit {
        true => format!("{shown} of {total} flows; --limit {most} shows more\n"),
        false => format!("{shown} of {total} flows; more than {most} are never shown\n"),
    })
}

/// Lists the workers. `GIVEN` and `TAKEN` are frames that changed hands between workers; `EMBRYO` are flows whose handshake is not complete,
/// and `COOKIES` says whether there are so many that SYNs are answered with cookies, and how many were.
pub(crate) fn workers(list: &List) -> Result<(), Failure> {
    show(list, "/v1/workers", "no workers", &WORKER, worker_cells)
}

const WORKER: [(&str, crate::table::Align); 13] = [
    ("W", Right),
    ("CORE", Right),
    ("BUSY", Right),
    ("FLOWS", Right),
    ("ROOM", Right),
    ("EXPIRED", Right),
    ("EMBRYO", Right),
    ("COOKIES", Right),
    ("GIVEN", Right),
    ("TAKEN", Right),
    ("P50", Right),
    ("P99", Right),
    ("GEN", Right),
];

fn worker_cells(worker: &view::Worker) -> Vec<String> {
    vec![
        worker.worker.to_string(),
        worker.lcore.to_string(),
        format!("{:.1}%", worker.busy_percent),
        count(worker.flows),
        count(worker.flows_capacity),
        count(worker.flows_expired),
        count(worker.embryonic_flows),
        format!("{} {}", if worker.cookies_engaged { "on" } else { "off" }, count(worker.cookies_given)),
        count(worker.handed_out),
        count(worker.handed_in),
        latency(worker.residence_p50_us),
        latency(worker.residence_p99_us),
        worker.generation.to_string(),
    ]
}

/// Lists the ports. `OFFLOADS` is what their devices do of their own.
pub(crate) fn ports(list: &List) -> Result<(), Failure> {
    let columns = [
        ("PORT", Name),
        ("DEVICE", Name),
        ("MAC", Left),
        ("MTU", Right),
        ("RX", Right),
        ("TX", Right),
        ("OFFLOADS", Name),
    ];
    show(list, "/v1/ports", "no ports", &columns, |port: &view::Port| {
        let offloads = if port.offloads.is_empty() { "none".to_owned() } else { port.offloads.join(", ") };
        vec![
            port.name.clone(),
            port.device.clone(),
            port.mac.clone(),
            port.mtu.to_string(),
            bytes(port.rx_bytes),
            bytes(port.tx_bytes),
            offloads,
        ]
    })
}

/// Lists what was dropped and why. A table leaves out what never happened.
pub(crate) fn drops(list: &List) -> Result<(), Failure> {
    let columns = [("REASON", Left), ("PACKETS", Right), ("MEANING", Name)];
    let answer = client::get(&list.socket, "/v1/drops")?;
    if list.output != Format::Table {
        return whole(list, &answer);
    }
    let mut rows: Vec<view::Drop> = parse(list, &answer)?;
    rows.retain(|drop| drop.packets > 0);
    rows.sort_by_key(|drop| std::cmp::Reverse(drop.packets));
    let cells = |drop: &view::Drop| vec![drop.reason.clone(), count(drop.packets), drop.description.clone()];
    tabulate(&columns, &rows, "nothing was dropped", cells)
}

fn show<T: DeserializeOwned>(
    list: &List,
    path: &str,
    none: &str,
    columns: &[(&'static str, crate::table::Align)],
    cells: impl Fn(&T) -> Vec<String>,
) -> Result<(), Failure> {
    let answer = client::get(&list.socket, path)?;
    match list.output {
        Format::Table => tabulate(columns, &parse::<Vec<T>>(list, &answer)?, none, cells),
        Format::Json | Format::Yaml => whole(list, &answer),
    }
}

fn tabulate<T>(
    columns: &[(&'static str, crate::table::Align)],
    rows: &[T],
    none: &str,
    cells: impl Fn(&T) -> Vec<String>,
) -> Result<(), Failure> {
    if rows.is_empty() {
        return print(&format!("{none}\n"));
    }
    let mut table = Table::new(columns);
    rows.iter().for_each(|row| table.push(cells(row)));
    print(&table.render())
}

/// The answer as it is, indented.
fn whole(list: &List, answer: &[u8]) -> Result<(), Failure> {
    let value: Value = serde_json::from_slice(answer).map_err(|error| foreign(list, &error))?;
    let text = match list.output {
        Format::Yaml => serde_yaml::to_string(&value).map_err(Failure::unprintable)?,
        Format::Json | Format::Table => serde_json::to_string_pretty(&value).map_err(Failure::unprintable)?,
    };
    print(&format!("{}\n", text.trim_end()))
}

fn parse<T: DeserializeOwned>(list: &List, answer: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer).map_err(|error| foreign(list, &error))
}

fn foreign(list: &List, error: &serde_json::Error) -> Failure {
    let what =
        format_args!("what the gateway at {} answered is not understood: {error}", list.socket.display());
    Failure::unreachable(what).remedy("use the `tidegate` of the same version as the one that runs")
}

/// A word of the API, as it stands in JSON.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => String::new(),
    }
}

fn available(available: bool) -> String {
    if available { "up" } else { "down" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_flows_says_what_it_does_not_show() {
        let text = |shown, total, limit| more_flows(&view::Flows { total, shown, flows: Vec::new() }, limit);
        assert_eq!(text(1_000, 5_000, 1_000).unwrap(), "1000 of 5000 flows; --limit 5000 shows more\n");
        assert_eq!(
            text(100_000, 900_000, 100_000).unwrap(),
            "100000 of 900000 flows; more than 100000 are never shown\n"
        );
        assert_eq!(text(9, 9, 1_000), None);
        assert_eq!(text(8, 9, 1_000), None); // one has just ended
    }

    #[test]
    fn the_table_of_workers_fits_whatever_they_have_done() {
        let much = 999_499_999_999;
        let worker = view::Worker {
            worker: u8::MAX,
            lcore: 1023,
            generation: 9_999_999,
            busy_percent: 100.0,
            flows: much,
            flows_capacity: much,
            flows_expired: much,
            embryonic_flows: much,
            cookies_given: 99_900_000,
            handed_in: much,
            handed_out: 99_900_000,
            residence_p50_us: 1.234,
            residence_p99_us: 98_765.4,
            ..view::Worker::default()
        };
        let mut table = Table::new(&WORKER);
        table.push(worker_cells(&worker));
        let text = table.render();
        assert!(text.lines().all(|line| line.chars().count() <= crate::table::WIDTH), "{text}");
        assert!(text.contains("1.23 µs") && text.contains("98.8 ms"), "{text}");
    }
}
