//! Every seed is a test: `cargo test --lib --manifest-path fuzz/Cargo.toml`.

use std::path::Path;

use crate::differential::{request as differential_request, response as differential_response};
use crate::{config, h1_body, h1_request, h1_response, proxy_header, round_trip, target};

fn each(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        run(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count > 0, "no seeds for {target}");
}

macro_rules! targets {
    ($($target:ident)*) => { $(
        #[test]
        fn $target() {
            each(stringify!($target), $target::run);
        }
    )* };
}

targets! {
    h1_request h1_response h1_body target config differential_request differential_response round_trip proxy_header
}
