//! `GET /images/search`: refused, since it is a service of Docker Hub's alone.

use crate::answer::Answer;
use crate::call::Call;
use crate::fault::Fault;

/// Refuses.
pub(crate) async fn search(_call: Call) -> Answer {
    Err(Fault::unsupported("searching Docker Hub is not supported: search on its web pages and pull by name"))
}
