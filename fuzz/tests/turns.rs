//! Every target in turn, with the same inputs each time.

use std::path::Path;

use fuzz::{Limit, Options, all, run};

#[test]
fn no_target_breaks_by_what_it_is_fed() {
    for target in all() {
        let options = Options {
            seed: 1,
            limit: Limit::Turns(target.turns),
            directory: Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz"),
            learns: false,
        };
        let report = run(&target, &options).unwrap_or_else(|found| panic!("{found}"));
        eprintln!("{}: {report:?}", target.name);
        // One that takes nothing was fed nothing that it reads.
        assert!(report.taken * 100 > report.turns, "`{}` refuses nearly all: {report:?}", target.name);
    }
}
