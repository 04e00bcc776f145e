//! Searching for repositories, by the protocol of Docker's index (v1), which Docker Hub and others speak still.

use reqwest::Url;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;

use super::limits::document;
use super::repository::{answer_error, unreachable};
use super::{Client, Credentials, Way, auth};
use crate::transfer::PullError;

/// Where Docker Hub's index is.
const DOCKER_INDEX: &str = "https://index.docker.io";

/// A repository that was found.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Found {
    /// How many users marked it.
    pub star_count: i64,
    /// Whether Docker keeps it.
    pub is_official: bool,
    /// Its name.
    pub name: String,
    /// What it is.
    pub description: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    results: Option<Vec<Found>>,
}

impl Client {
    /// The repositories of the registry `domain` that `term` finds, `limit` at most.
    pub async fn search(
        &self,
        domain: &str,
        term: &str,
        limit: u32,
        credentials: &Credentials,
    ) -> Result<Vec<Found>, PullError> {
        let (http, base) = match domain {
            oci::reference::DEFAULT_DOMAIN => {
                (self.http(Way::Ask, true, DOCKER_INDEX)?, DOCKER_INDEX.to_owned())
            }
            domain => self.reach(domain, Way::Ask).await?,
        };
        let malformed = |problem: String| PullError::Malformed { name: domain.to_owned(), problem };
        let mut url =
            Url::parse(&format!("{base}/v1/search")).map_err(|error| malformed(error.to_string()))?;
        url.query_pairs_mut().append_pair("q", term).append_pair("n", &limit.to_string());
        let mut request = http.get(url.clone());
        if let Credentials::Password { user, password } = credentials {
            request = request.header(AUTHORIZATION, auth::basic_value(user, password));
        }
        let response = request.send().await.map_err(unreachable(url.as_str()))?;
        if !response.status().is_success() {
            return Err(answer_error(url.as_str(), response).await);
        }
        let body = document(url.as_str(), response, self.limits()).await?;
        let answer: Answer = serde_json::from_slice(&body)
            .map_err(|error| malformed(format!("error decoding registry search results: {error}")))?;
        Ok(answer.results.unwrap_or_default())
    }
}
