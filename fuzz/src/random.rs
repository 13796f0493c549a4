//! A fuzzer without a compiler of its own: seeds are changed by chance and given to each subject, for as many seconds as
//! `PLIMSOLL_FUZZ_SECONDS` says (without it, a hundred inputs each). It sees no coverage, so that it finds less than libFuzzer
//! in `.ci/long/fuzz.sh`; it needs nothing but the stable toolchain.
//!
//! The seed of chance is printed, and taken from `PLIMSOLL_FUZZ_SEED`. An input that fails is written to `fuzz/artifacts`.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use plimsoll::entropy::{Random, system_seed};

/// Bytes of an input. Longer ones say little more.
const LONGEST: usize = 4096;
const INPUTS_WITHOUT_TIME: u64 = 100;

pub(crate) fn drive(target: &str, run: impl Fn(&[u8])) {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("PLIMSOLL_FUZZ_SEED").unwrap_or_else(system_seed);
    println!("{target}: PLIMSOLL_FUZZ_SEED={seed}");
    let seconds = number("PLIMSOLL_FUZZ_SECONDS");
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut random = Random::seeded(seed);
    let words = words();
    let mut corpus = seeds(target);
    let mut count = 0;
    while until.map_or(count < INPUTS_WITHOUT_TIME, |until| Instant::now() < until) {
        let input = changed(&corpus, &words, &mut random);
        let kept = Kept {
            target,
            input: &input,
        };
        run(&input);
        drop(kept);
        // Inputs drift away from the seeds, which stay.
        if random.below(8) == 0 && corpus.len() < 1000 {
            corpus.push(input);
        }
        count += 1;
    }
    println!("{target}: {count} inputs, nothing found");
}

/// Writes the input down when it makes the subject panic.
struct Kept<'a> {
    target: &'a str,
    input: &'a [u8],
}

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let folder = folder("artifacts").join(self.target);
            let file = folder.join(format!("random-{}", system_seed()));
            let _ = std::fs::create_dir_all(&folder);
            let _ = std::fs::write(&file, self.input);
            println!("{}: the input is in {}", self.target, file.display());
        }
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder("seeds").join(target)).expect("seeds");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a seed").path()).collect();
    // The same seed of chance gives the same inputs wherever it runs.
    paths.sort();
    let read = paths
        .iter()
        .map(|path| std::fs::read(path).expect("a seed"));
    read.collect()
}

/// The words of the dictionary of libFuzzer.
fn words() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(folder("http.dict")).expect("a dictionary");
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix('"')?.strip_suffix('"'));
    let word = |line: &str| {
        let mut word = Vec::new();
        let mut rest = line.as_bytes();
        while let [first, after @ ..] = rest {
            rest = after;
            let hex = after
                .get(1..3)
                .filter(|_| *first == b'\\' && after.first() == Some(&b'x'));
            let hex =
                hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
            match (hex, first) {
                (Some(byte), _) => {
                    word.push(byte);
                    rest = &after[3..];
                }
                (None, b'\\') => {}
                (None, byte) => word.push(*byte),
            }
        }
        word
    };
    lines.map(word).collect()
}

fn changed(corpus: &[Vec<u8>], words: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..1 + random.below(8) {
        let at = random.below(input.len() + 1);
        let until = (at + random.below(17)).min(input.len());
        let byte = random.next_u64() as u8;
        match random.below(9) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = byte,
            2 => input.insert(at, byte),
            3 => drop(input.drain(at..until)),
            4 => {
                let part = input[at..until].to_vec();
                let times = 1 + random.below(4);
                input.splice(at..at, part.repeat(times));
            }
            5 => drop(input.splice(at..at, words[random.below(words.len())].iter().copied())),
            6 => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                let part = other[from..].to_vec();
                input.truncate(at);
                input.extend(part);
            }
            7 => {
                let odd = [0, 1, 0x7f, 0x80, 0xff, b'\r', b'\n', b' ', b':', b'/', b'%'];
                input.insert(at, odd[random.below(odd.len())]);
            }
            _ => input.truncate(at.max(1)),
        }
    }
    input.truncate(LONGEST);
    input
}
