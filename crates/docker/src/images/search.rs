//! `GET /images/search`: repositories of Docker Hub, or of another registry that can be searched.

use serde::Serialize;

use super::credentials;
use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;
use crate::filters::Filters;

/// How many are found where nobody says.
const DEFAULT_LIMIT: u32 = 25;

/// A repository that was found.
#[derive(Serialize)]
struct Found {
    star_count: i64,
    is_official: bool,
    name: String,
    /// No registry makes such any more.
    is_automated: bool,
    description: String,
}

/// Asks the registry that the term names.
pub(crate) async fn search(call: Call) -> Answer {
    let filters = call.filters(&["is-automated", "is-official", "stars"])?;
    let limit = limit(call.query.text("limit"))?;
    let term = call.query.text("term");
    if term.contains("://") {
        return Err(Fault::invalid(format!(
            "invalid repository name: repository name ({term}) should not have a scheme"
        )));
    }
    let (least, official) = (stars(&filters)?, filters.flag("is-official")?);
    if filters.flag("is-automated")? == Some(true) {
        return answer::json(&Vec::<Found>::new());
    }
    let found = call.engine().registry_search(term, limit, credentials::of_call(&call)).await?;
    let admits = |found: &engine::image::Found| {
        found.star_count >= least && official.is_none_or(|official| official == found.is_official)
    };
    let found = found.into_iter().filter(admits).map(|found| Found {
        star_count: found.star_count,
        is_official: found.is_official,
        name: found.name,
        is_automated: false,
        description: found.description,
    });
    answer::json(&found.collect::<Vec<_>>())
}

fn limit(text: &str) -> Result<u32, Fault> {
    match text {
        "" | "0" => Ok(DEFAULT_LIMIT),
        text => {
            let limit: i64 = text.parse().map_err(|_| Fault::invalid("invalid limit specified"))?;
            let taken = u32::try_from(limit).ok().filter(|limit| (1..=100).contains(limit));
            taken.ok_or_else(|| Fault::invalid(format!("limit {limit} is outside the range of [1, 100]")))
        }
    }
}

/// The most that is asked for.
fn stars(filters: &Filters) -> Result<i64, Fault> {
    let read =
        |text: &String| text.parse().map_err(|_| Fault::invalid(format!("invalid filter 'stars={text}'")));
    let all: Vec<i64> = filters.get("stars").iter().map(read).collect::<Result<_, _>>()?;
    Ok(all.into_iter().max().unwrap_or(i64::MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_finds_so_many() {
        let check = |text: &str, expected: Result<u32, &str>| {
            let read = limit(text).map_err(|fault| fault.message);
            assert_eq!(read.as_ref().copied().map_err(|message| message.as_str()), expected, "{text}");
        };
        check("", Ok(25));
        check("100", Ok(100));
        check("101", Err("limit 101 is outside the range of [1, 100]"));
        check("x", Err("invalid limit specified"));
    }
}
