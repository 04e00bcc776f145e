use super::*;
use base::SystemRandom;

fn sandbox() -> SandboxId {
    SandboxId::random(&SystemRandom)
}

fn range(blocks: u64) -> Option<IdRange> {
    Some(IdRange::new(131_072, blocks * u64::from(BLOCK)).expect("a range"))
}

fn open(directory: &Path, range: Option<IdRange>) -> IdBlocks {
    IdBlocks::open(directory, range, &mut Vec::new())
}

#[track_caller]
fn check(users: &str, groups: &str, expected: Result<&[u32], &str>) {
    let directory = tempfile::tempdir().expect("temporary directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        if !text.is_empty() {
            std::fs::write(&path, text).expect("write");
        }
        path
    };
    let found = IdRange::read(&file("subuid", users), &file("subgid", groups));
    match (found, expected) {
        (Ok(range), Ok(firsts)) => {
            let found: Vec<u32> = range.blocks(0).take(firsts.len()).collect();
            assert_eq!(found, firsts, "{users:?} {groups:?}");
        }
        (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{error}"),
        (found, expected) => panic!("{found:?} instead of {expected:?}"),
    }
}

#[test]
fn ids_are_the_kubelets_or_nobodys() {
    check("", "", Ok(&[65_536, 131_072]));
    // A user's own subordinate ids overlap two blocks.
    check("mona:100000:65536\n", "mona:100000:65536\n", Ok(&[196_608, 262_144]));
    check("mona:100000:65536\n", "", Ok(&[196_608]));
    let kubelet = "mona:100000:65536\nkubelet:327680:131072\n";
    check(kubelet, kubelet, Ok(&[327_680, 393_216]));
    check(kubelet, "", Err("mismatch between subuids and subgids"));
    check(kubelet, "kubelet:65536:131072\n", Err("mismatch"));
    let twice = "kubelet:65536:65536\nkubelet:131072:65536\n";
    check(twice, twice, Err("more than one range"));
    for (bad, told) in [
        ("kubelet:0:65536\n", "greater or equal to 65536"),
        ("kubelet:1000:65536\n", "greater or equal to 65536"),
        ("kubelet:100000:65536\n", "multiple of 65536"),
        ("kubelet:65536:1000\n", "multiple of 65536"),
        ("kubelet:65536:0\n", "multiple of 65536"),
        ("kubelet:327680:4294836224\n", "beyond the largest id"),
        ("kubelet:4294901760:65536\n", "the last id there is"),
        ("kubelet:18446744073709486080:65536\n", "beyond the largest id"),
    ] {
        check(bad, bad, Err(told));
    }
}

#[test]
fn the_last_id_and_those_of_the_host_are_never_given() {
    let range = IdRange::new(65_536, (1 << 32) - 65_536).expect("a range");
    let mut all: Vec<u32> = range.blocks(0).collect();
    all.sort_unstable();
    assert_eq!((all.len(), all[0]), (65_534, 65_536));
    let last = *all.last().expect("many");
    assert!(last.checked_add(BLOCK - 1).expect("no id wraps") < u32::MAX);
    assert!(all.windows(2).all(|two| two[1] - two[0] == BLOCK));
}

#[test]
fn a_block_has_one_holder_until_it_is_given_back() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let blocks = open(directory.path(), range(2));
    let (one, two, three) = (sandbox(), sandbox(), sandbox());
    let first = blocks.take(&one).expect("a block");
    let second = blocks.take(&two).expect("a block");
    assert_ne!(first, second);
    assert_eq!((blocks.of(&one), blocks.of(&three)), (Some(first), None));
    let told = blocks.take(&three).expect_err("there is none left").to_string();
    assert!(told.contains("could not find an empty slot to allocate a user namespace"), "{told}");
    // Another life of the engine knows all of it.
    let again = open(directory.path(), range(2));
    assert_eq!((again.of(&one), again.of(&two)), (Some(first), Some(second)));
    assert!(again.take(&three).is_err());
    again.give_back(&one);
    assert_eq!(again.take(&three).expect("it is free"), first);
}

#[test]
fn what_cannot_be_understood_stays_reserved() {
    let directory = tempfile::tempdir().expect("temporary directory");
    std::fs::write(directory.path().join("131072"), "").expect("write");
    std::os::unix::fs::symlink("no id", directory.path().join("196608")).expect("link");
    std::fs::write(directory.path().join("notes"), "").expect("write");
    let mut troubles = Vec::new();
    let blocks = IdBlocks::open(directory.path(), range(3), &mut troubles);
    assert_eq!(troubles.len(), 3, "{troubles:?}");
    blocks.give_back_where(|_| true);
    assert_eq!(blocks.take(&sandbox()).expect("a block").first, 262_144);
    assert!(blocks.take(&sandbox()).is_err());
    // A range that was another one before: nothing of it is given out a second time.
    let shifted = Some(IdRange::new(65_536, 262_144).expect("a range"));
    let blocks = open(directory.path(), shifted);
    assert_eq!(blocks.take(&sandbox()).expect("a block").first, 65_536);
    assert!(blocks.take(&sandbox()).is_err());
}

#[test]
fn a_block_that_only_its_sandbox_knows_of_is_reserved_again() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let blocks = open(directory.path(), range(2));
    let one = sandbox();
    blocks.adopt(&one, 131_072);
    assert_eq!(blocks.of(&one), Some(IdBlock { first: 131_072 }));
    let again = open(directory.path(), range(2));
    assert_eq!(again.of(&one), Some(IdBlock { first: 131_072 }));
    assert_eq!(again.take(&sandbox()).expect("the other one").first, 196_608);
    again.give_back_where(|id| *id == one);
    assert_eq!(again.of(&one), None);
}

#[test]
fn many_at_once_get_each_their_own() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let blocks = open(directory.path(), range(64));
    let taken: Vec<IdBlock> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| (0..8).map(|_| blocks.take(&sandbox()).expect("a block")).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let unique: std::collections::BTreeSet<_> = taken.iter().collect();
    assert_eq!(unique.len(), 64);
}

#[test]
fn where_nothing_can_be_read_nothing_is_given() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let mut troubles = Vec::new();
    let place = directory.path().join("ids");
    std::fs::write(&place, "no directory").expect("write");
    let blocks = IdBlocks::open(&place, range(2), &mut troubles);
    assert_eq!(troubles.len(), 1);
    let told = blocks.take(&sandbox()).expect_err("it is blind").to_string();
    assert!(told.contains("which ids are taken is not known"), "{told}");
}
