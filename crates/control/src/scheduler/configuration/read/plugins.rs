//! Which plugins a profile has: those that everybody has, without some and with others.

use serde::Deserialize;

use super::{ConfigurationError, FILTERS, Profile, SCORES, invalid};

/// Plugins that have a place beside filters and scores.
const OTHERS: [&str; 4] = ["SchedulingGates", "PrioritySort", "DefaultPreemption", "DefaultBinder"];
const PREEMPTION: &str = "DefaultPreemption";

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Plugins {
    #[serde(default)]
    multi_point: Set,
    #[serde(default)]
    pre_enqueue: Set,
    #[serde(default)]
    queue_sort: Set,
    #[serde(default)]
    pre_filter: Set,
    #[serde(default)]
    filter: Set,
    #[serde(default)]
    post_filter: Set,
    #[serde(default)]
    pre_score: Set,
    #[serde(default)]
    score: Set,
    #[serde(default)]
    reserve: Set,
    #[serde(default)]
    permit: Set,
    #[serde(default)]
    pre_bind: Set,
    #[serde(default)]
    bind: Set,
    #[serde(default)]
    post_bind: Set,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Set {
    #[serde(default)]
    enabled: Vec<Plugin>,
    #[serde(default)]
    disabled: Vec<Plugin>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Plugin {
    name: String,
    weight: Option<i64>,
}

impl Set {
    fn is_empty(&self) -> bool {
        self.enabled.is_empty() && self.disabled.is_empty()
    }

    fn disables(&self, name: &str) -> bool {
        self.disabled.iter().any(|plugin| plugin.name == "*" || plugin.name == name)
    }
}

impl Plugins {
    /// Gives a profile its plugins.
    pub(super) fn apply(self, profile: &mut Profile, path: &str) -> Result<(), ConfigurationError> {
        self.check(path)?;
        let mut everywhere: Vec<(&'static str, Option<i64>)> = known().map(|name| (name, None)).collect();
        everywhere.retain(|(name, _)| !self.multi_point.disables(name));
        for plugin in &self.multi_point.enabled {
            let name = find(&plugin.name).unwrap_or_default();
            match everywhere.iter_mut().find(|(known, _)| *known == name) {
                Some((_, weight)) => *weight = plugin.weight,
                None => everywhere.push((name, plugin.weight)),
            }
        }
        let sets = |before: &Set, at: &Set| -> Vec<(&'static str, Option<i64>)> {
            let enabled: Vec<(&'static str, Option<i64>)> =
                at.enabled.iter().filter_map(|plugin| Some((find(&plugin.name)?, plugin.weight))).collect();
            let is_enabled = |name: &str| enabled.iter().find(|(known, _)| *known == name);
            // First those of everywhere that are named here, then others that are, then the rest.
            let named = everywhere.iter().filter_map(|(name, _)| is_enabled(name)).copied();
            let more = enabled.iter().filter(|(name, _)| everywhere.iter().all(|(known, _)| known != name));
            let off = |name: &str| at.disables(name) || before.disables(name);
            let rest = everywhere.iter().filter(|(name, _)| is_enabled(name).is_none() && !off(name));
            named.chain(more.copied()).chain(rest.copied()).collect()
        };
        let filters = sets(&self.pre_filter, &self.filter).into_iter().map(|(name, _)| name);
        profile.filters = filters.filter(|name| FILTERS.contains(name)).collect();
        let scores = sets(&self.pre_score, &self.score).into_iter();
        let scores = scores.filter_map(|(name, weight)| {
            let (_, default) = SCORES.iter().find(|(known, _)| *known == name)?;
            Some((name, weight.map_or(*default, |weight| weight.max(1))))
        });
        profile.scores = scores.collect();
        let after = sets(&Set::default(), &self.post_filter);
        profile.preempts = after.iter().any(|(name, _)| *name == PREEMPTION);
        Ok(())
    }

    fn check(&self, path: &str) -> Result<(), ConfigurationError> {
        let all = [
            ("multiPoint", &self.multi_point, true),
            ("preFilter", &self.pre_filter, false),
            ("filter", &self.filter, true),
            ("postFilter", &self.post_filter, true),
            ("preScore", &self.pre_score, false),
            ("score", &self.score, true),
            ("preEnqueue", &self.pre_enqueue, false),
            ("queueSort", &self.queue_sort, false),
            ("reserve", &self.reserve, false),
            ("permit", &self.permit, false),
            ("preBind", &self.pre_bind, false),
            ("bind", &self.bind, false),
            ("postBind", &self.post_bind, false),
        ];
        for (point, set, enables) in all {
            let path = format!("{path}.{point}");
            let only_disables = matches!(point, "preFilter" | "preScore");
            if (!enables && !only_disables && !set.is_empty()) || (only_disables && !set.enabled.is_empty()) {
                let why = "what stands there goes with its filter or score, and cannot be changed";
                return Err(ConfigurationError::Unsupported { path, why });
            }
            for plugin in set.enabled.iter().chain(&set.disabled) {
                let is_all = plugin.name == "*" && set.disabled.iter().any(|disabled| disabled.name == "*");
                if !is_all && find(&plugin.name).is_none() {
                    return Err(invalid(&path, format!("plugin \"{}\" does not exist", plugin.name)));
                }
                if plugin.weight.is_some_and(|weight| !(0..=100).contains(&weight)) {
                    return Err(invalid(&path, format!("the weight of {} is not in [0-100]", plugin.name)));
                }
            }
        }
        // Without these nothing would be done, or in no order.
        for name in ["SchedulingGates", "PrioritySort", "DefaultBinder"] {
            let stays = self.multi_point.enabled.iter().any(|plugin| plugin.name == name);
            if self.multi_point.disables(name) && !stays {
                let path = format!("{path}.multiPoint.disabled");
                let why = "SchedulingGates, PrioritySort and DefaultBinder are needed; enable them again";
                return Err(ConfigurationError::Unsupported { path, why });
            }
        }
        Ok(())
    }
}

/// All plugins, in their order.
fn known() -> impl Iterator<Item = &'static str> {
    let scores = SCORES.into_iter().map(|(name, _)| name).filter(|name| !FILTERS.contains(name));
    let [gates, sort, preemption, binder] = OTHERS;
    [gates, sort].into_iter().chain(FILTERS).chain([preemption]).chain(scores).chain([binder])
}

fn find(name: &str) -> Option<&'static str> {
    known().find(|known| *known == name)
}
