//! Looking after those whose group versions this server passes requests on for: whether they answer, what they offer,
//! how they describe it; and registering what this server serves itself.
//!
//! Each is looked after by a task of its own, so that none waits for another, and nobody for any of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use base::backoff::Backoff;
use futures::{StreamExt as _, stream};
use http::{Method, StatusCode, header};
use model::gvk::GroupVersion;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;

use super::peer::{Peer, is_missing};
use super::{
    Absence, Amended, Availability, Described, Offered, Place, Remote, RemoteServer, amend, discovery,
    openapi,
};
use crate::state::State;

/// How often it is looked whether one answers that did, and how soon, and how rarely, one that did not.
const AGAIN: Duration = Duration::from_secs(30);
const SOON: Duration = Duration::from_millis(500);
/// How often it is asked what one offers, and how that is described.
const REFRESH: Duration = Duration::from_secs(60);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
const LONG_PATIENCE: Duration = Duration::from_secs(15);
/// Changes that follow each other closely are looked at together.
const TOGETHER: Duration = Duration::from_millis(20);
/// A registration is removed when what it is for was not served for so long: another server may be behind.
const GRACE: Duration = Duration::from_secs(1);
/// How long to wait before what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// So many registrations are written at a time, and so often one that others write too.
const AT_ONCE: usize = 8;
const TRIES: usize = 4;

/// Where one is reached.
#[derive(Clone, Debug, PartialEq)]
struct Outlook {
    uid: String,
    server: Arc<RemoteServer>,
    places: Result<Vec<Place>, Absence>,
}

/// The task that looks after one.
struct Tended {
    outlook: watch::Sender<Outlook>,
    task: AbortHandle,
}

impl Drop for Tended {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Looks after all of them, for as long as it is polled.
pub(crate) async fn run(state: &Arc<State>) {
    let source = &state.aggregation.source;
    let mut tasks: JoinSet<()> = JoinSet::new();
    let mut tended: BTreeMap<GroupVersion, Tended> = BTreeMap::new();
    loop {
        let registered = source.registered();
        state.aggregation.tidy(&registered);
        let mut failed = false;
        let own: Vec<String> =
            registered.all().filter(|one| one.remote.is_none()).map(|one| one.name.clone()).collect();
        let local = Availability::Local;
        let telling: Vec<_> = own.iter().map(|name| tell(state, name, &local)).collect();
        let mut telling = stream::iter(telling).buffer_unordered(AT_ONCE);
        while let Some(told) = telling.next().await {
            failed |= !told;
        }
        drop(telling);
        let mut known = BTreeSet::new();
        for (registration, server) in registered.remote() {
            known.insert(registration.version.clone());
            let outlook = Outlook {
                uid: registration.uid.clone(),
                server: server.clone(),
                places: source.places(&server.service),
            };
            match tended.get(&registration.version).filter(|one| !one.task.is_finished()) {
                Some(one) => {
                    one.outlook.send_if_modified(|known| {
                        let differs = *known != outlook;
                        if differs {
                            *known = outlook;
                        }
                        differs
                    });
                }
                None => {
                    let (sender, receiver) = watch::channel(outlook);
                    let (state, version) = (state.clone(), registration.version.clone());
                    let task = tasks.spawn(async move { tend(&state, &version, receiver).await });
                    tended.insert(registration.version.clone(), Tended { outlook: sender, task });
                }
            }
        }
        tended.retain(|version, _| known.contains(version));
        tokio::select! {
            () = source.changed(registered.seen) => tokio::time::sleep(TOGETHER).await,
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended
                    && error.is_panic()
                {
                    tracing::error!(%error, "looking after an extension server panicked; beginning anew");
                    tokio::time::sleep(PAUSE).await;
                }
            }
            () = tokio::time::sleep(if failed { PAUSE } else { AGAIN }) => {}
        }
    }
}

/// Looks after one group version until nobody says any more where it is.
async fn tend(state: &Arc<State>, version: &GroupVersion, mut outlook: watch::Receiver<Outlook>) {
    let mut again = Backoff::new(SOON, AGAIN);
    let mut refreshed: Option<Instant> = None;
    loop {
        let now = outlook.borrow_and_update().clone();
        let remote = state.aggregation.remote(&version.group, &version.version);
        let Some(remote) =
            remote.filter(|remote| remote.server == now.server && remote.registration.uid == now.uid)
        else {
            // It has just been registered anew, or no more.
            if outlook.changed().await.is_err() {
                return;
            }
            continue;
        };
        let found = look(state, &remote, &now).await;
        let peer = found.as_ref().ok().map(|(peer, _)| peer.clone());
        let wait = match found {
            Ok((peer, at)) => {
                let due = refreshed.is_none_or(|at| at.elapsed() >= REFRESH - PATIENCE);
                let mut whole = true;
                if due {
                    whole = offered(state, &remote, &peer, &at).await;
                }
                whole &= tell(state, &remote.registration.name, &Availability::Passed).await;
                if due {
                    whole &= described(state, &remote, &peer, &at).await;
                    refreshed = Some(Instant::now()).filter(|_| whole);
                }
                if whole {
                    again.reset();
                    AGAIN
                } else {
                    again.next_delay()
                }
            }
            Err(absence) => {
                refreshed = None;
                state.aggregation.note(&remote, |said| {
                    let stale =
                        said.offered.as_ref().filter(|offered| offered.fresh).map(|offered| offered.stale());
                    let changed = stale.is_some();
                    if let Some(stale) = stale {
                        said.offered = Some(Arc::new(stale));
                    }
                    changed
                });
                tell(state, &remote.registration.name, &Availability::Absent(absence)).await;
                again.next_delay()
            }
        };
        tokio::select! {
            changed = outlook.changed() => {
                if changed.is_err() {
                    return;
                }
                again.reset();
                refreshed = None;
            }
            // Not more often than it is looked at anyway while it fails.
            () = doubted(peer.as_deref()) => tokio::time::sleep(again.next_delay().min(wait)).await,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Waits until somebody could not reach one that answered.
async fn doubted(peer: Option<&Peer>) {
    match peer {
        Some(peer) => peer.doubted().await,
        None => std::future::pending().await,
    }
}

/// Whether one answers, and where.
async fn look(state: &Arc<State>, remote: &Remote, outlook: &Outlook) -> Result<(Arc<Peer>, Place), Absence> {
    let places = outlook.places.clone()?;
    let failed = |message: String| Absence { reason: "FailedDiscoveryCheck", message };
    let peer = state.aggregation.peer(&remote.server).map_err(failed)?;
    let path = format!("/{}", crate::openapi::version_path(&remote.registration.version));
    let at = peer.answers(state, &places, &path, PATIENCE).await.map_err(failed)?;
    Ok((peer, at))
}

/// Tells a registration what was found of it; whether that is told.
async fn tell(state: &Arc<State>, name: &str, availability: &Availability) -> bool {
    for _ in 0..TRIES {
        let now = state.clock.now();
        let Some(wanted) = state.aggregation.source.found(name, availability, now) else { return true };
        tracing::debug!(name, ?availability, "whether an API can be asked for is another than before");
        let registered = state.aggregation.source.registered();
        let was = registered.all().any(|known| known.name == name && known.available);
        match amend(state, wanted).await {
            Ok(Amended::Done) => {
                if let (true, Availability::Absent(absence)) = (was, availability) {
                    state.aggregation.lose(name, absence.reason);
                }
                return true;
            }
            // It says something else by now: what is to be done about that is seen at once.
            Ok(Amended::Overtaken) => {}
            Err(why) => {
                tracing::warn!(name, why, "a registered API is not told whether it can be asked for");
                return false;
            }
        }
    }
    false
}

/// Asks what one offers; whether it said so.
async fn offered(state: &Arc<State>, remote: &Remote, peer: &Arc<Peer>, at: &Place) -> bool {
    let asking = ask_offered(state, remote, peer, at);
    let told = tokio::time::timeout(2 * PATIENCE, asking)
        .await
        .unwrap_or_else(|_| Err("it takes too long".to_owned()));
    let version = &remote.registration.version;
    match told {
        Ok(offered) => {
            state.aggregation.note(remote, |said| {
                let differs = said.offered.as_deref() != Some(&offered);
                if differs {
                    said.offered = Some(Arc::new(offered));
                }
                differs
            });
            true
        }
        Err(why) => {
            tracing::debug!(%version, why, "an extension server does not say what it offers");
            state.aggregation.note(remote, |said| {
                let stale =
                    said.offered.as_ref().filter(|offered| offered.fresh).map(|offered| offered.stale());
                let changed = stale.is_some();
                if let Some(stale) = stale {
                    said.offered = Some(Arc::new(stale));
                }
                changed
            });
            false
        }
    }
}

async fn ask_offered(
    state: &Arc<State>,
    remote: &Remote,
    peer: &Arc<Peer>,
    at: &Place,
) -> Result<Offered, String> {
    let version = remote.registration.version.clone();
    if !version.group.is_empty() {
        let accept = [(header::ACCEPT, discovery::FORM)];
        if let Ok(answer) = peer.ask(state, at, "/apis", &accept, discovery::LONGEST).await {
            let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            if answer.status() == StatusCode::OK && discovery::is_new_form(kind.unwrap_or_default()) {
                let (text, version) = (answer.into_body(), version.clone());
                let read = state.workers.saying(move || discovery::read(&text, &version)).await;
                return read.map_err(|error| error.to_string());
            }
            if answer.status() == StatusCode::SERVICE_UNAVAILABLE {
                return Err("it answers 503".to_owned());
            }
        }
    }
    let path = format!("/{}", crate::openapi::version_path(&version));
    let accept = [(header::ACCEPT, "application/json")];
    let answer = peer.ask(state, at, &path, &accept, discovery::LONGEST).await?;
    if answer.status() != StatusCode::OK {
        return Err(format!("{path} answers {}", answer.status()));
    }
    let text = answer.into_body();
    let read = state.workers.saying(move || discovery::read_list(&text, &version)).await;
    read.map_err(|error| error.to_string())
}

/// Asks how one describes what it offers; whether it said so, or that it does not.
async fn described(state: &Arc<State>, remote: &Remote, peer: &Arc<Peer>, at: &Place) -> bool {
    let before = state.aggregation.said(remote).described;
    let asking = ask_described(state, remote, peer, at, before.as_deref());
    let told = tokio::time::timeout(LONG_PATIENCE, asking).await;
    match told.unwrap_or_else(|_| Err("it takes too long".to_owned())) {
        Ok(described) => {
            state.aggregation.note(remote, |said| {
                said.described = Some(Arc::new(described));
                false
            });
            true
        }
        Err(why) => {
            let version = &remote.registration.version;
            tracing::debug!(%version, why, "an extension server does not describe what it offers");
            false
        }
    }
}

async fn ask_described(
    state: &Arc<State>,
    remote: &Remote,
    peer: &Arc<Peer>,
    at: &Place,
    before: Option<&Described>,
) -> Result<Described, String> {
    let version = remote.registration.version.clone();
    let accept = [(header::ACCEPT, "application/json")];
    let index = peer.ask(state, at, "/openapi/v3", &accept, openapi::LONGEST).await?;
    let hash = match index.status() {
        StatusCode::OK => openapi::read_index(index.body(), &version).map_err(|error| error.to_string())?,
        code if is_missing(code) => None,
        code => return Err(format!("/openapi/v3 answers {code}")),
    };
    let known = before.and_then(|before| before.etag.as_deref());
    let mut headers = vec![(header::ACCEPT, "application/json")];
    headers.extend(known.map(|etag| (header::IF_NONE_MATCH, etag)));
    let answer = peer.ask(state, at, "/openapi/v2", &headers, openapi::LONGEST).await?;
    let mut described = Described { hash, ..Described::default() };
    match answer.status() {
        StatusCode::OK => {
            let etag = answer.headers().get(header::ETAG).and_then(|etag| etag.to_str().ok());
            described.etag = etag.filter(|etag| etag.len() <= 512).map(str::to_owned);
            let text = answer.into_body();
            let (part, v3) = state.workers.saying(move || openapi::read(&text, &version)).await?;
            // The same as before is the same, so that what is made of it needs not be made again.
            let same = before.and_then(|before| before.v2.clone()).filter(|same| **same == part);
            described.v2 = Some(same.unwrap_or_else(|| Arc::new(part)));
            described.v3 = v3;
        }
        StatusCode::NOT_MODIFIED => {
            let before = before.cloned().unwrap_or_default();
            (described.v2, described.etag, described.v3) = (before.v2, before.etag, before.v3);
        }
        code if is_missing(code) => {}
        code => return Err(format!("/openapi/v2 answers {code}")),
    }
    Ok(described)
}

/// Registers the group versions that this server serves itself, and those no more that it serves no more, for as long
/// as it is polled.
pub(crate) async fn register(state: &Arc<State>) {
    let source = &state.aggregation.source;
    let mut changes = state.table.changes();
    let mut done = None;
    loop {
        changes.mark_unchanged();
        let (entries, registered) = (state.table.entries(), source.registered());
        let is_done = done.as_ref().is_some_and(|(before, generation)| {
            Arc::ptr_eq(before, &entries) && *generation == registered.generation
        });
        if !is_done {
            let failed = catch_up(state).await;
            done = (!failed).then(|| (entries, registered.generation));
        }
        let pause = if done.is_some() { AGAIN } else { PAUSE };
        tokio::select! {
            _ = changes.changed() => {}
            () = source.changed(registered.seen) => tokio::time::sleep(TOGETHER).await,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Whether something failed.
async fn catch_up(state: &Arc<State>) -> bool {
    let source = &state.aggregation.source;
    let is_removal = |wanted: &super::Amend| wanted.method == Method::DELETE;
    let mut failed = false;
    let (gone, wanted): (Vec<_>, Vec<_>) =
        source.register(&state.table.versions()).into_iter().partition(is_removal);
    let doing: Vec<_> = wanted.into_iter().map(|one| done(state, one)).collect();
    let mut doing = stream::iter(doing).buffer_unordered(AT_ONCE);
    while let Some(done) = doing.next().await {
        failed |= !done;
    }
    drop(doing);
    if gone.is_empty() {
        return failed;
    }
    tokio::time::sleep(GRACE).await;
    let still: Vec<_> = source.register(&state.table.versions()).into_iter().filter(is_removal).collect();
    for removal in gone.into_iter().filter(|removal| still.contains(removal)) {
        failed |= !done(state, removal).await;
    }
    failed
}

async fn done(state: &Arc<State>, wanted: super::Amend) -> bool {
    match amend(state, wanted).await {
        Ok(told) => told == Amended::Done,
        Err(why) => {
            tracing::warn!(why, "a group version is not registered as it is served");
            false
        }
    }
}
