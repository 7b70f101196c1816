//! The bodies of the fuzz targets, over the checked-in corpus and inputs made from it, with a stable compiler.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at what is wrong"
)]

use std::{fs, panic::catch_unwind, path::PathBuf};

use zk_server::fuzzing::{TARGETS, Target};

/// How many inputs are made for each target, besides the corpus itself.
const ROUNDS: usize = 1500;

/// How many changes an input has at most.
const CHANGES_MAX: usize = 5;

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

/// One change of the kind that libFuzzer makes.
fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], dice: &mut fastrand::Rng) {
    let at = dice.usize(..=input.len());
    match dice.u8(..6) {
        0 => input.truncate(at),
        1 => input.insert(at, dice.u8(..)),
        2 => {
            let odd = [-2, -1, 0, 1, 2, 0x7f, 0xffff, i32::MIN, i32::MAX];
            let end = input.len().min(at + 4);
            input.splice(at..end, dice.choice(odd).unwrap().to_be_bytes());
        }
        3 => {
            let other = dice.choice(seeds).unwrap();
            input.extend_from_slice(&other[dice.usize(..=other.len())..]);
        }
        4 => drop(input.drain(at..input.len().min(at + dice.usize(..9)))),
        _ if at < input.len() => input[at] ^= 1 << dice.u8(..8),
        _ => {}
    }
}

fn run(name: &str, target: Target, input: &[u8]) {
    if catch_unwind(|| target(input)).is_err() {
        panic!("target {name} fails for {}", input.escape_ascii());
    }
}

#[test]
fn every_target_holds_over_the_corpus_and_what_is_made_from_it() {
    for (name, target) in TARGETS {
        let seeds = corpus(name);
        assert!(seeds.len() >= 2, "{name} has no corpus");
        seeds.iter().for_each(|seed| run(name, *target, seed));
        let mut dice = fastrand::Rng::with_seed(7);
        for _ in 0..ROUNDS {
            let mut input = dice.choice(&seeds).unwrap().clone();
            for _ in 0..dice.usize(1..=CHANGES_MAX) {
                change(&mut input, &seeds, &mut dice);
            }
            run(name, *target, &input);
        }
    }
}
