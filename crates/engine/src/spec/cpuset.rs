//! Processors and memory nodes that a container may be held to.

use std::collections::BTreeSet;
use std::path::Path;

use crate::container::Resources;
use crate::error::{Error, Result};

/// The highest number that is understood; kernels are built for fewer.
const MOST: u32 = 8191;

/// Refuses what this host does not have: the kernel would refuse it when the container is started.
pub(crate) fn check(resources: &Resources) -> Result<()> {
    let asked = [
        (&resources.cpuset_cpus, "cpus", "CPUs", "cpu"),
        (&resources.cpuset_mems, "mems", "memory nodes", "node"),
    ];
    for (list, file, things, directory) in asked {
        let Some(list) = list.as_deref().filter(|list| !list.is_empty()) else { continue };
        let wanted = parse(list)
            .map_err(|why| Error::invalid(format!("Invalid value {list} for cpuset {file}: {why}")))?;
        let Some(there) = available(file, directory) else { continue };
        // What cannot be understood of the host is left to the kernel.
        if parse(&there).is_ok_and(|there| !wanted.is_subset(&there)) {
            return Err(Error::invalid(format!(
                "Requested {things} are not available - requested {list}, available: {there}"
            )));
        }
    }
    Ok(())
}

/// The list of what the host has, as the kernel writes it.
fn available(file: &str, directory: &str) -> Option<String> {
    let places = [
        format!("/sys/fs/cgroup/cpuset/cpuset.{file}"),
        format!("/sys/fs/cgroup/cpuset.{file}.effective"),
        format!("/sys/devices/system/{directory}/online"),
    ];
    let read = |place: &String| std::fs::read_to_string(Path::new(place)).ok();
    places.iter().filter_map(read).map(|text| text.trim().to_owned()).find(|text| !text.is_empty())
}

/// Reads `0-3,5`.
fn parse(list: &str) -> Result<BTreeSet<u32>, String> {
    let mut numbers = BTreeSet::new();
    let number = |text: &str| {
        let number = text.parse::<u32>().map_err(|_| format!("invalid format: {list}"))?;
        if number > MOST {
            Err(format!("value {number} is out of range, the maximum is {MOST}"))
        } else {
            Ok(number)
        }
    };
    for part in list.split(',') {
        match part.split_once('-') {
            None => drop(numbers.insert(number(part)?)),
            Some((first, last)) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(format!("invalid format: {list}"));
                }
                numbers.extend(first..=last);
            }
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_numbers_and_ranges() {
        assert_eq!(parse("0-2,5"), Ok(BTreeSet::from([0, 1, 2, 5])));
        for wrong in ["", "a", "1-42,,", "3-1", "-1", "1-99999999"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_the_host_does_not_have_is_refused_by_name() {
        let of = |cpus: &str| Resources { cpuset_cpus: Some(cpus.to_owned()), ..Resources::default() };
        assert!(check(&of("0")).is_ok());
        let error = check(&of("8000")).expect_err("no machine has so many");
        assert!(
            error.message().starts_with("Requested CPUs are not available - requested 8000, available: 0")
        );
        let error = check(&of("1-42,,")).expect_err("no list");
        assert!(error.message().starts_with("Invalid value 1-42,, for cpuset cpus: "), "{error}");
    }
}
