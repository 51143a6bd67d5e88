//! Which processors there are, and which of them workers run on.

use std::fs;

use model::MAX_WORKERS;

use crate::failure::Failure;

/// The processors that this process may use, ascending.
pub(crate) fn allowed() -> Vec<u32> {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    parse(list.unwrap_or("0").trim())
}

/// Reads `0-3,6`.
fn parse(list: &str) -> Vec<u32> {
    let ranges = list.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<u32>().ok()?..=last.parse::<u32>().ok()?)
    });
    ranges.flatten().collect()
}

/// The processors of the workers where the configuration leaves the choice: with cards all but the first, which is
/// left to control and to the system; in software mode the last one, since kernel, clients and backends on the same
/// machine want the others.
pub(crate) fn choose(allowed: &[u32], cards: bool) -> Vec<u32> {
    match allowed {
        [_, others @ ..] if cards && !others.is_empty() => others.iter().copied().take(MAX_WORKERS).collect(),
        [.., last] => vec![*last],
        [] => vec![0],
    }
}

/// Sees to it that each processor asked for may be used, and is asked for once.
pub(crate) fn check(asked: &[u32], allowed: &[u32]) -> Result<(), Failure> {
    if asked.len() > MAX_WORKERS {
        let what = format_args!("workers.lcores asks for {} workers", asked.len());
        return Err(Failure::device(what).remedy(format_args!("name {MAX_WORKERS} processors at most")));
    }
    for (position, cpu) in asked.iter().enumerate() {
        let what = if !allowed.contains(cpu) {
            format!("workers.lcores asks for processor {cpu}, which this process may not use")
        } else if asked.iter().take(position).any(|before| before == cpu) {
            format!("workers.lcores asks for processor {cpu} twice")
        } else {
            continue;
        };
        return Err(Failure::device(what).remedy(format_args!("choose from {}", list(allowed))));
    }
    Ok(())
}

fn list(processors: &[u32]) -> String {
    processors.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_with_ranges_is_read() {
        assert_eq!(parse("0-3,6"), [0, 1, 2, 3, 6]);
        assert_eq!(parse("5"), [5]);
        assert!(!allowed().is_empty());
    }

    #[test]
    fn cards_get_all_processors_but_the_first_and_software_the_last() {
        assert_eq!(choose(&[0, 1, 2], true), [1, 2]);
        assert_eq!(choose(&[0, 1, 2], false), [2]);
        assert_eq!(choose(&[4], true), [4]);
        assert_eq!(choose(&[4], false), [4]);
    }

    #[test]
    fn a_processor_that_is_not_there_or_asked_for_twice_is_refused() {
        assert!(check(&[1, 0], &[0, 1]).is_ok());
        assert!(check(&[2], &[0, 1]).unwrap_err().to_string().contains("choose from 0, 1"));
        assert!(check(&[1, 1], &[0, 1]).unwrap_err().to_string().contains("twice"));
    }
}
