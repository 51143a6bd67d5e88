//! A reload is a transaction: flows on backends that stay do not notice it, and a mistake changes nothing.

use std::{net::TcpStream, sync::Arc, time::Duration};

use model::Mode;
use testkit::netns::{Device, Plan, Topology, Transfer, object, wait_until};

use crate::site::{LIMIT, Site};

const PLAN: Plan = Plan::new(Device::AfPacket, Mode::Nat, 4);
const TRANSFERS: usize = 200;

#[test]
fn a_backend_comes_and_another_goes_under_200_running_transfers() {
    let topology = Topology::build(PLAN).unwrap();
    let first = topology.configuration_for(&[1, 2, 3], "");
    let second = topology.configuration_for(&[2, 3, 4], "");
    let site = Site::start_with(topology, &first);
    let content = Arc::new(object(4, 1 << 20));
    site.offer("object", &content);
    let generation = site.gateway.wait_until_settled(LIMIT).unwrap();
    let connections: Vec<_> = (0..TRANSFERS).map(|_| site.dial(false)).collect();
    let removed = clients_of(&site, "10.10.2.11:8080");
    let transfers = start_transfers(connections, &content);

    site.gateway.reload(&second).unwrap();
    wait_until(LIMIT, "the reload", || site.gateway.log().contains("configuration is in force")).unwrap();
    let of_removed = |transfer: &Transfer| removed.contains(&transfer.client().to_string());
    let go_on = |transfer: &Transfer| transfer.is_running() || of_removed(transfer);
    assert!(transfers.iter().all(go_on), "transfers ended before the reload did");
    assert!(site.gateway.wait_until_settled(LIMIT).unwrap() > generation);

    let (gone, kept): (Vec<_>, Vec<_>) =
        transfers.into_iter().enumerate().partition(|(_, transfer)| of_removed(transfer));
    let told = gone.len() as u64;
    assert!(gone.len() > TRANSFERS / 6 && kept.len() > TRANSFERS / 2, "{} {}", gone.len(), kept.len());
    gone.into_iter().for_each(|(_, transfer)| transfer.abandon());
    for (number, transfer) in kept {
        finish(&site, number, transfer, &content);
    }
    wait_until(LIMIT, "the new backend is up", || site.gateway.backends_up().unwrap() == 12).unwrap();
    site.gateway.wait_until_settled(LIMIT).unwrap();
    assert_eq!(site.serving(false), ["backend2", "backend3", "backend4"]);
    // Only the clients of the removed backend hear that it is gone.
    assert!(site.topology.client.resets().unwrap() <= told);
    site.stop();
}

/// Each takes eight seconds; every other one is an upload.
fn start_transfers(connections: Vec<TcpStream>, content: &Arc<Vec<u8>>) -> Vec<Transfer> {
    let start = |(number, stream)| match number % 2 {
        0 => Transfer::get(stream, "/slow/object").unwrap(),
        _ => {
            let pause = Duration::from_millis(125);
            Transfer::put(stream, &format!("/upload/{number}"), content, pause).unwrap()
        }
    };
    connections.into_iter().enumerate().map(start).collect()
}

fn finish(site: &Site, number: usize, transfer: Transfer, content: &[u8]) {
    let answer = transfer.finish().unwrap_or_else(|failure| panic!("transfer {number}: {failure}"));
    let there = match number % 2 {
        0 => answer.body,
        _ => site.uploaded(&answer.backend, &number.to_string()),
    };
    assert!(there == content, "transfer {number} is wrong");
}

/// The clients whose flows a backend has.
fn clients_of(site: &Site, backend: &str) -> Vec<String> {
    let flows = site.gateway.list("flow").unwrap();
    let of_backend = flows.iter().filter(|flow| flow["backend"] == backend);
    of_backend.map(|flow| flow["client"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn what_a_drained_backend_has_left_at_its_deadline_is_reset_and_the_others_go_on() {
    let topology = Topology::build(Plan { backends: 3, ..PLAN }).unwrap();
    let before = topology.configuration("").replace("    backends:", "    drain_deadline: 1s\n    backends:");
    let drained = before.replace("\"10.10.2.11:8080\" }", "\"10.10.2.11:8080\", state: drain }");
    let site = Site::start_with(topology, &before);
    let content = Arc::new(object(4, 1 << 20));
    site.offer("object", &content);
    site.gateway.wait_until_settled(LIMIT).unwrap();
    let connections: Vec<_> = (0..40).map(|_| site.dial(false)).collect();
    let of_drained = clients_of(&site, "10.10.2.11:8080");
    let transfers = start_transfers(connections, &content);

    site.gateway.reload(&drained).unwrap();
    let is_told = |transfer: &Transfer| of_drained.contains(&transfer.client().to_string());
    let (told, kept): (Vec<_>, Vec<_>) =
        transfers.into_iter().enumerate().partition(|(_, transfer)| is_told(transfer));
    assert!(!told.is_empty() && !kept.is_empty());
    for (number, transfer) in told {
        assert!(transfer.finish().is_err(), "transfer {number} was not reset");
    }
    for (number, transfer) in kept {
        finish(&site, number, transfer, &content);
    }
    assert_eq!(clients_of(&site, "10.10.2.11:8080"), Vec::<String>::new());
    assert_eq!(site.serving(false), ["backend2", "backend3"]);
    site.stop();
}

#[test]
fn a_configuration_with_a_mistake_changes_nothing() {
    let site = Site::start(Plan { backends: 1, ..PLAN }, "");
    let generation = site.gateway.wait_until_settled(LIMIT).unwrap();
    let right = site.topology.configuration("");
    let wrong = right.replace("mode: nat, pool: http4", "mode: net, pool: http4");
    let position = position_of(&wrong, "mode: net");

    site.gateway.reload(&wrong).unwrap();
    wait_until(LIMIT, "the refusal", || site.gateway.log().contains("reload refused")).unwrap();
    let log = site.gateway.log();
    assert!(log.contains(&position), "{position} is not in\n{log}");
    assert_eq!(site.gateway.wait_until_settled(LIMIT).unwrap(), generation);
    assert_eq!(site.serving(false), ["backend1"]);

    // What is in force already is no change either.
    site.gateway.reload(&right).unwrap();
    wait_until(LIMIT, "the answer", || site.gateway.log().contains("configuration is in force")).unwrap();
    assert_eq!(site.gateway.wait_until_settled(LIMIT).unwrap(), generation);
}

/// `LINE:COLUMN` of the value in `NAME: VALUE`.
fn position_of(text: &str, member: &str) -> String {
    let (number, line) = (1..).zip(text.lines()).find(|(_, line)| line.contains(member)).unwrap();
    let column = line.find(member).unwrap() + member.find(' ').unwrap() + 2;
    format!("{number}:{column}")
}
