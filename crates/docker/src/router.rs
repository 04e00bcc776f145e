//! Which endpoint a request is for.
//!
//! A path is a fixed head, at most one name, and a fixed tail. The name may contain slashes
//! (images do), which is why the table is walked instead of a tree of segments.

use std::sync::Arc;

use futures::future::BoxFuture;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::fault::Fault;
use crate::serve::Api;
use crate::version::ApiVersion;
use crate::{build, containers, events, exec, images, networks, swarm, system, volumes};

/// An endpoint, ready to be called.
type Endpoint = fn(Call) -> BoxFuture<'static, Answer>;

/// One line of the table.
struct Route {
    method: Method,
    path: &'static str,
    /// The first version that has it.
    since: ApiVersion,
    endpoint: Endpoint,
}

macro_rules! routes {
    ($($method:ident $path:literal $(since $major:literal . $minor:literal)? => $endpoint:path,)*) => {
        &[$(Route {
            method: Method::$method,
            path: $path,
            since: routes!(@since $($major $minor)?),
            endpoint: |call| Box::pin($endpoint(call)),
        }),*]
    };
    (@since) => { ApiVersion::OLDEST };
    (@since $major:literal $minor:literal) => { ApiVersion($major, $minor) };
}

/// All endpoints; the first that fits is taken.
static ROUTES: &[Route] = routes! {
    GET "/_ping" => system::ping::ping,
    HEAD "/_ping" => system::ping::ping,
    GET "/version" => system::version::version,
    GET "/info" => system::info::info,
    GET "/events" => events::events,
    GET "/system/df" => system::disk_usage::disk_usage,
    POST "/auth" => system::auth::auth,

    GET "/containers/json" => containers::list::list,
    POST "/containers/create" => containers::create::create,
    POST "/containers/prune" since 1 . 25 => containers::prune::prune,
    GET "/containers/{name}/json" => containers::inspect::inspect,
    GET "/containers/{name}/top" => containers::top::top,
    GET "/containers/{name}/logs" => containers::logs::logs,
    GET "/containers/{name}/changes" => containers::changes::changes,
    GET "/containers/{name}/export" => containers::export::export,
    GET "/containers/{name}/stats" => containers::stats::stats,
    POST "/containers/{name}/resize" => containers::resize::resize,
    POST "/containers/{name}/start" => containers::start::start,
    POST "/containers/{name}/stop" => containers::stop::stop,
    POST "/containers/{name}/restart" => containers::restart::restart,
    POST "/containers/{name}/kill" => containers::kill::kill,
    POST "/containers/{name}/update" => containers::update::update,
    POST "/containers/{name}/rename" => containers::rename::rename,
    POST "/containers/{name}/pause" => containers::pause::pause,
    POST "/containers/{name}/unpause" => containers::pause::unpause,
    POST "/containers/{name}/attach" => containers::attach::attach,
    GET "/containers/{name}/attach/ws" => containers::attach_ws::attach_ws,
    POST "/containers/{name}/wait" => containers::wait::wait,
    POST "/containers/{name}/exec" => exec::create::create,
    HEAD "/containers/{name}/archive" => containers::archive::stat,
    GET "/containers/{name}/archive" => containers::archive::get,
    PUT "/containers/{name}/archive" => containers::archive::put,
    DELETE "/containers/{name}" => containers::remove::remove,
    POST "/commit" => containers::commit::commit,

    POST "/exec/{name}/start" => exec::start::start,
    POST "/exec/{name}/resize" => exec::resize::resize,
    GET "/exec/{name}/json" => exec::inspect::inspect,

    GET "/images/json" => images::list::list,
    GET "/images/search" => images::search::search,
    GET "/images/get" => images::save::save_several,
    GET "/images/{name}/get" => images::save::save_one,
    GET "/images/{name}/history" => images::history::history,
    GET "/images/{name}/json" => images::inspect::inspect,
    POST "/images/load" => images::load::load,
    POST "/images/create" => images::create::create,
    POST "/images/prune" since 1 . 25 => images::prune::prune,
    POST "/images/{name}/push" => images::push::push,
    POST "/images/{name}/tag" => images::tag::tag,
    DELETE "/images/{name}" => images::remove::remove,
    GET "/distribution/{name}/json" since 1 . 30 => images::distribution::inspect,

    POST "/grpc" => build::connection::grpc,
    POST "/session" => build::connection::session,
    POST "/build" => build::run::build,
    POST "/build/cancel" since 1 . 39 => build::cancel::cancel,
    POST "/build/prune" since 1 . 31 => build::prune::prune,

    GET "/volumes" => volumes::list::list,
    POST "/volumes/create" => volumes::create::create,
    POST "/volumes/prune" since 1 . 25 => volumes::prune::prune,
    GET "/volumes/{name}" => volumes::inspect::inspect,
    PUT "/volumes/{name}" since 1 . 42 => volumes::update::update,
    DELETE "/volumes/{name}" => volumes::remove::remove,

    GET "/networks" => networks::list::list,
    GET "/networks/" => networks::list::list,
    POST "/networks/create" => networks::create::create,
    POST "/networks/prune" since 1 . 25 => networks::prune::prune,
    GET "/networks/{name}" => networks::inspect::inspect,
    POST "/networks/{name}/connect" => networks::connect::connect,
    POST "/networks/{name}/disconnect" => networks::connect::disconnect,
    DELETE "/networks/{name}" => networks::remove::remove,

    GET "/plugins" => swarm::no_plugins,
    GET "/plugins/{name}/json" => swarm::no_such_plugin,
    DELETE "/plugins/{name}" => swarm::no_such_plugin,
    POST "/plugins/{name}/enable" => swarm::no_such_plugin,
    POST "/plugins/{name}/disable" => swarm::no_such_plugin,
    POST "/plugins/{name}/upgrade" => swarm::plugins_refused,
    POST "/plugins/{name}/push" => swarm::no_such_plugin,
    POST "/plugins/{name}/set" => swarm::no_such_plugin,
    POST "/plugins/pull" => swarm::plugins_refused,
    POST "/plugins/create" => swarm::plugins_refused,
    GET "/plugins/privileges" => swarm::plugins_refused,
    POST "/swarm/init" => swarm::refused,
    POST "/swarm/join" => swarm::refused,
    POST "/swarm/leave" => swarm::not_a_node,
};

/// The first parts of paths of which everything is a swarm manager's.
const SWARM: &[&str] = &["swarm", "services", "nodes", "tasks", "secrets", "configs"];

/// Sends a request to its endpoint.
pub(crate) async fn route(api: Arc<Api>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let (version, rest) = ApiVersion::split(&path);
    let version = version.unwrap_or(ApiVersion::NEWEST).check().map_err(Fault::invalid)?;
    if request.method() == Method::OPTIONS {
        return answer::bare(StatusCode::OK);
    }
    if let Some((route, name)) = find(request.method(), rest, version) {
        tracing::debug!(method = %request.method(), path, "request");
        return (route.endpoint)(Call::new(api, version, name, request)).await;
    }
    let first = rest.split('/').nth(1).unwrap_or_default();
    if SWARM.contains(&first) {
        return swarm::not_a_manager();
    }
    Err(Fault::not_found("page not found"))
}

fn find(method: &Method, path: &str, version: ApiVersion) -> Option<(&'static Route, String)> {
    ROUTES
        .iter()
        .filter(|route| route.method == *method && route.since <= version)
        .find_map(|route| Some((route, name_in(route.path, path)?)))
}

/// The name that `path` has where `pattern` has `{name}`, if the rest agrees.
fn name_in(pattern: &str, path: &str) -> Option<String> {
    let Some((head, tail)) = pattern.split_once("{name}") else {
        return (pattern == path).then(String::new);
    };
    let name = path.strip_prefix(head)?.strip_suffix(tail)?;
    // An escaped slash stays one: names have slashes of their own, so both spellings are the same.
    (!name.is_empty()).then(|| decode(name))
}

/// Undoes `%2F` and the like; what is no escape stays as it is.
fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(request: &str, expected: Option<(&str, &str)>) {
        let (method, path) = request.split_once(' ').expect("a method and a path");
        let method: Method = method.parse().expect("a method");
        let (version, rest) = ApiVersion::split(path);
        let found = find(&method, rest, version.unwrap_or(ApiVersion::NEWEST));
        let found = found.as_ref().map(|(route, name)| (route.path, name.as_str()));
        assert_eq!(found, expected, "{request}");
    }

    #[test]
    fn a_path_leads_to_its_endpoint_and_names_its_thing() {
        check("GET /v1.41/containers/json", Some(("/containers/json", "")));
        check("GET /containers/web/json", Some(("/containers/{name}/json", "web")));
        check("POST /containers/web/attach", Some(("/containers/{name}/attach", "web")));
        check("DELETE /containers/web", Some(("/containers/{name}", "web")));
    }

    #[test]
    fn image_names_may_have_slashes_and_escapes() {
        check("GET /images/localhost:5000/a/b:1/json", Some(("/images/{name}/json", "localhost:5000/a/b:1")));
        check("DELETE /images/a%2Fb@sha256:0", Some(("/images/{name}", "a/b@sha256:0")));
        check("GET /images/get", Some(("/images/get", "")));
    }

    #[test]
    fn unknown_paths_and_methods_lead_nowhere() {
        check("GET /nope", None);
        check("DELETE /info", None);
        check("GET /containers//json", None);
    }

    #[test]
    fn an_endpoint_is_missing_before_its_first_version() {
        check("PUT /v1.41/volumes/a", None);
        check("PUT /v1.42/volumes/a", Some(("/volumes/{name}", "a")));
    }
}
