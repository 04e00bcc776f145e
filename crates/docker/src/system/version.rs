//! `GET /version`.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::version::ApiVersion;
use crate::wire::Map;
use crate::wire::system::{Component, Platform, Version};

/// What the daemon is, what it speaks and what it runs on.
pub(crate) async fn version(call: Call) -> Answer {
    let facts = call.engine().host_facts();
    let about = &call.api.about;
    let (api, oldest) = (ApiVersion::NEWEST.to_string(), ApiVersion::OLDEST.to_string());
    let details = [
        ("ApiVersion", api.as_str()),
        ("Arch", &facts.architecture),
        ("BuildTime", &about.built),
        ("Experimental", "false"),
        ("GitCommit", &about.commit),
        ("GoVersion", ""),
        ("KernelVersion", &facts.kernel),
        ("MinAPIVersion", &oldest),
        ("Os", &facts.os),
    ];
    let details: Map<String> = details.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    answer::json(&Version {
        platform: Platform { name: "Gantry".to_owned() },
        components: vec![Component { name: "Engine".to_owned(), version: about.version.clone(), details }],
        version: about.version.clone(),
        api_version: api,
        min_api_version: oldest,
        git_commit: about.commit.clone(),
        go_version: String::new(),
        os: facts.os,
        arch: facts.architecture,
        kernel_version: facts.kernel,
        build_time: about.built.clone(),
    })
}
