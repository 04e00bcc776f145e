//! Whether the agent works.

use std::time::Duration;

use http::StatusCode;
use parking_lot::Mutex;

use super::{Answer, said};
use crate::Agent;

/// What is looked at, in order. The log writes nothing that could fail; the loop is [`Beat`]'s.
const CHECKS: [&str; 3] = ["ping", "log", "syncloop"];
/// How long the loop of pods may take for a turn.
const LONGEST_TURN: Duration = Duration::from_secs(120);
/// How often it turns though nothing has happened.
pub(crate) const TURN: Duration = Duration::from_secs(30);

/// When the loop that looks after pods turned last.
#[derive(Default)]
pub(crate) struct Beat(Mutex<Option<Duration>>);

impl Beat {
    /// It turned.
    pub(crate) fn turned(&self, now: Duration) {
        *self.0.lock() = Some(now);
    }

    /// It has ended.
    pub(crate) fn ended(&self) {
        *self.0.lock() = None;
    }

    fn check(&self, now: Duration) -> Result<(), String> {
        match *self.0.lock() {
            None => Err("sync Loop is not running".to_owned()),
            Some(turned) if now.saturating_sub(turned) > LONGEST_TURN => {
                Err(format!("sync Loop took longer than expected: {:?}", now.saturating_sub(turned)))
            }
            Some(_) => Ok(()),
        }
    }
}

impl Agent {
    pub(super) fn health(&self, name: Option<&str>, verbose: bool) -> Answer {
        let now = self.shared.clock.elapsed();
        let check = |name: &str| if name == "syncloop" { self.shared.beat.check(now) } else { Ok(()) };
        let all: Vec<(&str, Result<(), String>)> = match name {
            None => CHECKS.map(|name| (name, check(name))).to_vec(),
            Some(name) => match CHECKS.iter().find(|known| **known == name) {
                Some(name) => vec![(name, check(name))],
                None => return said(StatusCode::NOT_FOUND, super::NO_SUCH_PAGE),
            },
        };
        report(name, &all, verbose)
    }
}

fn report(name: Option<&str>, all: &[(&str, Result<(), String>)], verbose: bool) -> Answer {
    let failed = all.iter().any(|(_, found)| found.is_err());
    if let (Some(_), [(_, found)]) = (name, all) {
        return match found {
            Ok(()) => said(StatusCode::OK, "ok"),
            Err(why) => said(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {why}\n")),
        };
    }
    if !failed && !verbose {
        return said(StatusCode::OK, "ok");
    }
    let lines: String = all
        .iter()
        .map(|(name, found)| match found {
            Ok(()) => format!("[+]{name} ok\n"),
            Err(_) => format!("[-]{name} failed: reason withheld\n"),
        })
        .collect();
    match failed {
        true => said(StatusCode::INTERNAL_SERVER_ERROR, format!("{lines}healthz check failed\n")),
        false => said(StatusCode::OK, format!("{lines}healthz check passed\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loop_is_well_as_long_as_it_turns() {
        let beat = Beat::default();
        assert!(beat.check(Duration::from_secs(1)).is_err());
        beat.turned(Duration::from_secs(10));
        assert_eq!(beat.check(Duration::from_secs(100)), Ok(()));
        assert!(beat.check(Duration::from_secs(1000)).is_err());
        beat.turned(Duration::from_secs(1000));
        beat.ended();
        assert!(beat.check(Duration::from_secs(1000)).is_err());
    }

    #[test]
    fn a_failure_is_told_with_its_code() {
        let all = [("ping", Ok(())), ("syncloop", Err("x".to_owned()))];
        assert_eq!(report(None, &all, false).status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(report(None, &all[..1], true).status(), StatusCode::OK);
        assert_eq!(report(Some("syncloop"), &all[1..], false).status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
