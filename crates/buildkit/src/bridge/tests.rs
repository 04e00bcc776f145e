use super::*;

fn definition(number: usize, size: usize) -> pb::Definition {
    let mut bytes = vec![0; size];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    pb::Definition { def: vec![bytes.into()], ..Default::default() }
}

#[test]
fn what_the_results_of_a_build_take_has_an_end_and_equal_ones_take_it_once() {
    let mut results = Results::<usize>::default();
    let size = 1 << 20;
    let kept = (0..1_000).take_while(|at| results.keep(at, &definition(*at, size)).is_ok()).count();
    assert_eq!(kept, (DEFINITIONS >> 20) - 1, "there is some more than its operation to a definition");
    // The first one's again and again, each under another name.
    let before = results.bytes;
    let same = definition(0, size);
    let names: Vec<String> = (0..100).map(|_| results.keep(&7, &same).expect("it is kept")).collect();
    assert!(names.iter().all(|name| results.named[name] == 0), "they are one");
    assert_eq!(results.bytes, before);
    let small = definition(0, 8);
    let more = (0..2 * RESULTS).take_while(|_| results.keep(&7, &small).is_ok()).count();
    assert_eq!(more, RESULTS - kept - names.len());
}

#[test]
fn warnings_have_an_end() {
    let mut warned = Warned::default();
    assert_eq!((0..2 * WARNINGS).take_while(|_| warned.count(1 << 10).is_ok()).count(), WARNINGS);
    let mut warned = Warned::default();
    assert_eq!((0..WARNINGS).take_while(|_| warned.count(3 << 20).is_ok()).count(), 5);
    assert!(warned.count(usize::MAX).is_err());
}
