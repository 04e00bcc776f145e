//! Everything that can fail fails, again and again, and the world ends as it should: see [`kubernetes_tests::chaos`].

use std::path::Path;

use kubernetes_tests::chaos;

/// How many faults and changes there are unless `GANTRY_TEST_STEPS` says otherwise.
const STEPS: u64 = 12;

#[test]
fn whatever_fails_the_world_becomes_what_the_objects_say() {
    let steps = std::env::var("GANTRY_TEST_STEPS").ok().and_then(|steps| steps.parse().ok());
    chaos::storm(Path::new(env!("CARGO_BIN_EXE_witness")), steps.unwrap_or(STEPS));
}
