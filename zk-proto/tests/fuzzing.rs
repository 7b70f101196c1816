//! The bodies of the fuzz targets, over the checked-in corpus and inputs made from it, with a stable compiler.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what is wrong"
)]

use std::{fs, panic::catch_unwind, path::PathBuf};

use zk_proto::fuzzing::{TARGETS, Target};

/// How many inputs are made for each target, besides the corpus itself.
const ROUNDS: usize = 4000;

/// A small generator of its own (SplitMix64): the same inputs in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, 0 where there is none.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    /// A length, a count or a tag that is likely to matter.
    fn int(&mut self) -> [u8; 4] {
        let odd = [-2, -1, 0, 1, 2, 0x7f, 0xff, 0xffff, i32::MIN, i32::MAX];
        self.pick(&odd).to_be_bytes()
    }
}

/// One change of the kind that libFuzzer makes.
fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(input.len());
    match random.below(6) {
        0 => input.truncate(at),
        1 => input.insert(at, random.next().to_be_bytes()[0]),
        2 => input
            .splice(at..input.len().min(at + 4), random.int())
            .for_each(drop),
        3 => {
            let other = random.pick(seeds);
            let from = random.below(other.len());
            input.extend_from_slice(&other[from..]);
        }
        4 if !input.is_empty() => {
            let end = input.len().min(at + 1 + random.below(8));
            input.drain(at..end);
        }
        _ if !input.is_empty() => input[at] ^= 1 << random.below(8),
        _ => {}
    }
}

fn run(name: &str, target: Target, input: &[u8]) {
    if catch_unwind(|| target(input)).is_err() {
        panic!("target {name} fails for {}", input.escape_ascii());
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "testdata", "fuzz", name]
        .iter()
        .collect();
    let files = fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|file| fs::read(file).unwrap())
        .collect()
}

#[test]
fn every_target_holds_over_the_corpus_and_what_is_made_from_it() {
    for (name, target) in TARGETS {
        let seeds = corpus(name);
        assert!(seeds.len() >= 2, "{name} has no corpus");
        seeds.iter().for_each(|seed| run(name, *target, seed));
        let mut random = Random(1);
        for _ in 0..ROUNDS {
            let mut input = random.pick(&seeds).clone();
            for _ in 0..=random.below(4) {
                change(&mut input, &seeds, &mut random);
            }
            run(name, *target, &input);
        }
    }
}
