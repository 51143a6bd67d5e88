//! What moves when something changes, over many random pools.
//!
//! `POOLS=1000 cargo test --release -p balance --test consistency -- --nocapture` looks at a thousand, and tells what it found.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on panics")]

use std::{collections::HashMap, env, fs, process::Command};

use balance::{Candidate, Level, Table};
use model::Address;

const SLOTS: usize = 65_536;
const SEED: [u8; 16] = *b"sixteen letters!";
/// Pools, unless `POOLS` says how many.
const POOLS: u64 = 24;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % limit
    }

    fn candidate(&mut self, number: u64, alike: bool) -> Candidate {
        let weight = if alike { 1 } else { 1 + self.below(100) as u16 };
        Candidate {
            address: Address::from_v4((0x0a00_0000 + number as u32).to_be_bytes()),
            port: 9000,
            weight,
        }
    }

    /// From 2 to 1,000 backends, as likely few as many; of half of the pools all of one weight.
    fn pool(&mut self) -> Vec<Candidate> {
        let size = 2.0 * 500_f64.powf(self.below(1 << 20) as f64 / f64::from(1 << 20));
        let alike = self.below(2) == 0;
        (1..=size.round() as u64).map(|number| self.candidate(number, alike)).collect()
    }
}

fn pools() -> u64 {
    env::var("POOLS").map_or(POOLS, |pools| pools.parse().unwrap())
}

/// The addresses in the slots, which unlike positions do not depend on the list.
fn holders(table: &Table, list: &[Candidate]) -> Vec<Address> {
    table.primary().iter().map(|&position| list[position as usize].address).collect()
}

/// The part of all slots that changed hands and need not have: who has fewer slots gives away as many as it must.
fn avoidable(before: &[Address], after: &[Address]) -> f64 {
    let mut lost: HashMap<Address, i64> = HashMap::new();
    before.iter().for_each(|holder| *lost.entry(*holder).or_default() += 1);
    after.iter().for_each(|holder| *lost.entry(*holder).or_default() -= 1);
    let unavoidable: i64 = lost.values().filter(|lost| **lost > 0).sum();
    let moved = before.iter().zip(after).filter(|(before, after)| before != after).count();
    (moved as i64 - unavoidable) as f64 / before.len() as f64
}

/// A backend comes, goes, or has another weight, twice the old one at most.
#[test]
fn one_change_of_the_configuration_moves_little_besides_what_it_must() {
    let mut random = Random(1);
    let (mut sum, mut most) = (0.0, 0.0_f64);
    for number in 0..pools() {
        let before = random.pool();
        let mut after = before.clone();
        let one = random.below(before.len() as u64) as usize;
        match number % 3 {
            0 if before.len() > 2 => drop(after.remove(one)),
            1 => after[one].weight = 1 + random.below(2 * u64::from(before[one].weight)) as u16,
            _ => after.push(random.candidate(5000, before.iter().all(|other| other.weight == 1))),
        }
        let tables = [&before, &after].map(|list| holders(&Table::maglev(SEED, list, SLOTS), list));
        let moved = avoidable(&tables[0], &tables[1]);
        (sum, most) = (sum + moved, most.max(moved));
    }
    let mean = sum / pools() as f64;
    println!("{} pools: {:.3} % on average, {:.3} % at most", pools(), mean * 100.0, most * 100.0);
    assert!(mean <= 0.008 && most <= 0.014, "{mean}, {most}");
}

#[test]
fn a_change_of_health_moves_the_slots_concerned_and_its_return_brings_them_back() {
    let mut random = Random(2);
    for _ in 0..pools() {
        let list = random.pool();
        let table = Table::maglev(SEED, &list, SLOTS);
        let one = random.below(list.len() as u64) as usize;
        let mut levels: Vec<Level> = list.iter().map(|_| Level::of(random.below(10) > 0)).collect();
        levels[one] = Level::FULL;
        let with = table.assign(&levels);
        levels[one] = Level::NONE;
        let without = table.assign(&levels);
        let others = with.iter().zip(&*without).filter(|(with, without)| with != without);
        assert!(others.into_iter().all(|(with, _)| *with == one as u32));
        levels[one] = Level::FULL;
        assert_eq!(table.assign(&levels), with);
    }
}

#[test]
fn weights_come_within_a_hundredth_with_a_hundred_slots_to_a_backend() {
    let mut random = Random(3);
    for _ in 0..pools() {
        let list = random.pool();
        let table = Table::maglev(SEED, &list, SLOTS);
        let all: f64 = list.iter().map(|candidate| f64::from(candidate.weight)).sum();
        let mut counts = vec![0.0; list.len()];
        table.primary().iter().for_each(|&position| counts[position as usize] += 1.0);
        for (count, candidate) in counts.into_iter().zip(&list) {
            let share = SLOTS as f64 * f64::from(candidate.weight) / all;
            // A slot is the least that a share can differ by.
            assert!(
                share < 100.0 || (count - share).abs() <= f64::max(share * 0.01, 1.0),
                "{count} for {share}"
            );
        }
    }
}

/// A pool's table, and the one after a failure, as bytes.
fn bytes() -> Vec<u8> {
    let list = Random(4).pool();
    let table = Table::maglev(SEED, &list, SLOTS);
    let levels: Vec<Level> = (0..list.len()).map(|position| Level::of(position % 7 != 3)).collect();
    let assigned = table.assign(&levels);
    table.primary().iter().chain(&*assigned).flat_map(|position| position.to_le_bytes()).collect()
}

#[test]
fn two_processes_with_one_seed_have_the_same_tables_to_the_byte() {
    if let Some(path) = env::var_os("TABLE") {
        return fs::write(path, bytes()).unwrap();
    }
    let directory = env::temp_dir().join(format!("tidegate-tables-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let tables = ["one", "two"].map(|name| {
        let path = directory.join(name);
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "two_processes_with_one_seed_have_the_same_tables_to_the_byte"]);
        assert!(command.env("TABLE", &path).output().unwrap().status.success());
        fs::read(path).unwrap()
    });
    fs::remove_dir_all(&directory).unwrap();
    assert!(tables[0].len() >= 2 * 4 * SLOTS && tables[0] == tables[1]);
    assert!(tables[0] == bytes());
}
