//! Every seed is a test, and so is what chance makes of the seeds: `cargo test --lib --manifest-path fuzz/Cargo.toml`.

use std::path::Path;

use crate::differential::{request as differential_request, response as differential_response};
use crate::random::drive;
use crate::{
    certificate, config, h1_body, h1_request, h1_response, h2_session, keys, proxy_header, reload,
    rewrite, round_trip, route_match, target,
};

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
    ($($target:ident)*) => {
        mod kept {
            $(
                #[test]
                fn $target() {
                    super::each(stringify!($target), super::$target::run);
                }
            )*
        }

        mod changed {
            $(
                #[test]
                fn $target() {
                    super::drive(stringify!($target), super::$target::run);
                }
            )*
        }
    };
}

targets! {
    certificate h1_request h1_response h1_body target config differential_request differential_response round_trip
    route_match rewrite keys h2_session reload proxy_header
}
