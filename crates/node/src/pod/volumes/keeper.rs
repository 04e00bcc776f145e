//! The volumes of one pod through their lives: what is next is done, and written down before.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::RecordError;
use futures::future::join_all;
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::task::JoinHandle;
use tracing::warn;

use super::empty_dir::MAKING;
use super::life::{self, Action};
use super::{Kind, Phase, Prepared, Recipe, VolumeError};
use crate::files::{FileWork, SLOW_TIME, Slow};
use crate::state::{self, VolumesFile};
use unmounting::out_of_sight;

mod unmounting;

/// The record, in the pod's directory.
const RECORD: &str = "volumes.json";
/// Where the volumes are, in the pod's directory.
const PLACES: &str = "volumes";

/// What is written down of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// How it is kept.
    pub(crate) kind: Kind,
    /// Where it is in its life.
    pub(crate) phase: Phase,
}

type Records = BTreeMap<String, Recorded>;

/// Held by work on a pod's files, which may go on though nobody waits for it any more.
type Alone = Arc<OwnedMutexGuard<()>>;

/// The volumes of one pod. Its methods may be dropped at any moment: what has been begun comes to its end, and
/// the next call goes on from there.
pub(crate) struct Volumes {
    /// The pod's directory.
    directory: PathBuf,
    /// What is known of them, once it has been read.
    records: Option<Records>,
    /// What is on disk of that, if it is known.
    saved: Option<Records>,
    alone: Arc<Mutex<()>>,
    /// What was begun that may take very long, by volume: it is not begun once more, and what it came to counts
    /// whenever that is.
    under_way: BTreeMap<String, (Action, JoinHandle<Result<(), VolumeError>>)>,
}

/// Work on one volume that may take very long.
type Long = (String, Action, Slow, Work);
type Work = Box<dyn FnOnce() -> Result<(), VolumeError> + Send>;

/// Work that threads for it do once it is their turn.
fn for_later(work: impl FnOnce() -> Result<(), VolumeError> + Send + 'static) -> Work {
    Box::new(work)
}

/// Makes what a volume lacks and shows it; what containers have of the host is mounted already, whatever has become
/// of its path.
fn bring(recipe: &Recipe, name: &str, place: &Path, running: bool) -> Result<(), VolumeError> {
    if !running || !matches!(recipe.kind(), Kind::HostPath | Kind::Claimed) {
        recipe.stage(name, place)?;
    }
    // A group gets a volume once for a pod: what its containers have changed since is theirs, also when one of them
    // begins anew.
    recipe.publish(name, place, running || recipe.is_given_once())
}

/// What is done to one volume.
struct Job {
    name: String,
    place: PathBuf,
    action: Action,
    kind: Kind,
    /// What it is made from, if it is wanted.
    recipe: Option<Arc<Recipe>>,
    /// Containers of the pod have what is there.
    running: bool,
    /// Let go of when it is done.
    alone: Alone,
}

impl Job {
    /// What it may wait for, if that may be very long.
    fn long(&self) -> Option<Slow> {
        let recipe = self.recipe.as_ref().filter(|_| self.action == Action::Publish)?;
        recipe.slow(self.running)
    }

    fn perform(self) -> Result<(), VolumeError> {
        let _alone = &self.alone;
        match (self.action, &self.recipe) {
            (Action::Stage, Some(recipe)) => recipe.stage(&self.name, &self.place),
            (Action::Publish, Some(recipe)) => recipe.publish(&self.name, &self.place, self.running),
            // Nobody wants it: nothing is to be made.
            (Action::Stage | Action::Publish, None) => Ok(()),
            (Action::Unpublish, _) => {
                self.kind.unpublish(&self.place);
                Ok(())
            }
            (Action::Unstage, _) => self.kind.unstage(&self.place).map_err(|source| VolumeError::Io {
                name: self.name.clone(),
                tried: "remove",
                path: self.place.clone(),
                source,
            }),
        }
    }
}

impl Volumes {
    /// The volumes of the pod whose directory this is.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory, records: None, saved: None, alone: Arc::default(), under_way: BTreeMap::new() }
    }

    /// Makes volumes, or brings them up to date; gives them by name. What is there and is not among the
    /// `recipes` is taken away. `running` says that containers of the pod have what is there.
    pub(crate) async fn publish(
        &mut self,
        files: &FileWork,
        recipes: Vec<(String, Recipe)>,
        running: bool,
    ) -> Result<BTreeMap<String, Prepared>, VolumeError> {
        let alone = self.alone().await?;
        self.load(files, &alone).await?;
        let recipes: BTreeMap<String, Arc<Recipe>> =
            recipes.into_iter().map(|(name, recipe)| (name, Arc::new(recipe))).collect();
        self.bring_up_to_date(files, &alone, self.published(&recipes), running).await?;
        while self.step(files, &alone, &recipes, running).await? {}
        let shown = |(name, recipe): (&String, &Arc<Recipe>)| (name.clone(), recipe.shown(&self.place(name)));
        Ok(recipes.iter().map(shown).collect())
    }

    /// Takes away the volumes and everything else that the pod has on this node: its logs, its messages.
    pub(crate) async fn remove(&mut self, files: &FileWork) -> Result<(), VolumeError> {
        let alone = self.alone().await?;
        self.load(files, &alone).await?;
        self.find_others(files, &alone).await?;
        // Taking away what lies on disk may take long, and is done with the rest of it.
        while self.next(&BTreeMap::new()).values().any(|action| *action != Action::Unstage) {
            self.step(files, &alone, &BTreeMap::new(), false).await?;
        }
        for name in self.next(&BTreeMap::new()).into_keys() {
            self.begin(&name, Action::Unstage, None);
        }
        self.save_if_possible(files, &alone).await;
        let records = self.records.clone().unwrap_or_default();
        let (directory, held) = (self.directory.clone(), Arc::clone(&alone));
        let removed = files.removal(move || {
            let _alone = held;
            for (name, recorded) in &records {
                recorded.kind.unstage(&directory.join(PLACES).join(name))?;
            }
            remove_directory(&directory)
        });
        removed.await.map_err(|source| self.failed("remove", source))?;
        (self.records, self.saved) = (Some(Records::new()), Some(Records::new()));
        Ok(())
    }

    /// Waits until nothing else is done to the pod's files, but not for ever: a server may not answer.
    async fn alone(&self) -> Result<Alone, VolumeError> {
        let alone = tokio::time::timeout(SLOW_TIME, Arc::clone(&self.alone).lock_owned()).await;
        let alone = alone.map_err(|_| VolumeError::Slow { name: self.directory.display().to_string() })?;
        Ok(Arc::new(alone))
    }

    /// Does what may take very long, on threads that only such work waits for; gives what came of it. What is not done
    /// in time goes on, and the next call for the same gives what came of it.
    async fn long(
        &mut self,
        files: &FileWork,
        work: Vec<Long>,
    ) -> Vec<(String, Action, Result<(), VolumeError>)> {
        let mut wanted = BTreeSet::new();
        for (name, action, kind, work) in work {
            wanted.insert(name.clone());
            if self.under_way.get(&name).is_some_and(|(begun, _)| *begun == action) {
                continue;
            }
            let (pod, volume) = (self.directory.display().to_string(), name.clone());
            let working = files.slow(kind, pod, work);
            let task = tokio::spawn(async move {
                working.await.map_err(|source| VolumeError::Busy { name: volume, source })?
            });
            self.under_way.insert(name, (action, task));
        }
        let waits = self.under_way.iter_mut().filter(|(name, _)| wanted.contains(*name));
        let waits = waits.map(|(name, (action, task))| async move {
            let done = tokio::time::timeout(SLOW_TIME, task).await;
            (name.clone(), *action, done)
        });
        let mut ended = Vec::new();
        for (name, action, done) in join_all(waits).await {
            let done = match done {
                Ok(done) => {
                    self.under_way.remove(&name);
                    // A panic is one here too.
                    done.unwrap_or_else(|error| match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_) => Err(VolumeError::Slow { name: name.clone() }),
                    })
                }
                Err(_) => Err(VolumeError::Slow { name: name.clone() }),
            };
            ended.push((name, action, done));
        }
        ended
    }

    /// Reads the record. One that is damaged, or is not there, says nothing: what there is lies in the pod's
    /// directory.
    async fn load(&mut self, files: &FileWork, alone: &Alone) -> Result<(), VolumeError> {
        if self.records.is_some() {
            return Ok(());
        }
        let (path, held) = (self.directory.join(RECORD), Arc::clone(alone));
        let read = files.quick(move || {
            let _alone = held;
            (base::record::read::<VolumesFile>(&path), path)
        });
        self.records = Some(match read.await {
            (Ok(record), _) => {
                let records = Records::from(record);
                self.saved = Some(records.clone());
                records.into_iter().filter(|(name, _)| is_plain(name)).collect()
            }
            (Err(RecordError::Missing), _) => Records::new(),
            (Err(error @ RecordError::Damaged(_)), path) => {
                warn!(path = %path.display(), error = %base::error::chain(&error), "what was known of a pod's volumes is lost; they are looked for");
                Records::new()
            }
            (Err(source), path) => return Err(VolumeError::Record { path, source }),
        });
        Ok(())
    }

    /// Writes down what is known, if that is not on disk.
    async fn save(&mut self, files: &FileWork, alone: &Alone) -> Result<(), VolumeError> {
        if self.records == self.saved || (self.saved.is_none() && self.records == Some(Records::new())) {
            return Ok(());
        }
        let records = self.records.clone().unwrap_or_default();
        let (directory, held) = (self.directory.clone(), Arc::clone(alone));
        let file = VolumesFile::from(&records);
        let saved = files.quick(move || {
            let _alone = held;
            std::fs::create_dir_all(directory.join(PLACES))?;
            state::save(&directory.join(RECORD), &file)
        });
        // It is not known what is on disk until it is.
        self.saved = None;
        saved.await.map_err(|source| self.failed("write down what there is in", source))?;
        self.saved = Some(records);
        Ok(())
    }

    /// The same, before something is taken away: an earlier record says at least what there is, and what gives
    /// space back must be possible on a full disk.
    async fn save_if_possible(&mut self, files: &FileWork, alone: &Alone) {
        if let Err(error) = self.save(files, alone).await {
            warn!(error = %base::error::chain(&error), "volumes are taken away without a record of it");
        }
    }

    /// What is next for each volume for which something is.
    fn next(&self, recipes: &BTreeMap<String, Arc<Recipe>>) -> BTreeMap<String, Action> {
        let records = self.records.iter().flatten();
        let names: BTreeSet<&String> = records.map(|(name, _)| name).chain(recipes.keys()).collect();
        let action = |name: &String| {
            let phase = self.records.as_ref().and_then(|records| records.get(name)).map(|known| known.phase);
            life::next(phase, recipes.contains_key(name))
        };
        names.into_iter().filter_map(|name| Some((name.clone(), action(name)?))).collect()
    }

    /// Does for all volumes at once what is next for each; gives whether there was anything.
    async fn step(
        &mut self,
        files: &FileWork,
        alone: &Alone,
        recipes: &BTreeMap<String, Arc<Recipe>>,
        running: bool,
    ) -> Result<bool, VolumeError> {
        let actions = self.next(recipes);
        if actions.is_empty() {
            self.save(files, alone).await?;
            return Ok(false);
        }
        for (name, action) in &actions {
            self.begin(name, *action, recipes.get(name));
        }
        if recipes.is_empty() {
            self.save_if_possible(files, alone).await;
        } else {
            self.save(files, alone).await?;
        }
        let jobs = actions.into_iter().filter_map(|(name, action)| {
            let kind = self.records.as_ref()?.get(&name)?.kind;
            let (recipe, place) = (recipes.get(&name).cloned(), self.place(&name));
            Some(Job { place, name, action, kind, recipe, running, alone: Arc::clone(alone) })
        });
        let (long, short): (Vec<Job>, Vec<Job>) = jobs.partition(|job| job.long().is_some());
        let long = long.into_iter().filter_map(|job| {
            let (name, action, kind) = (job.name.clone(), job.action, job.long()?);
            Some((name, action, kind, Box::new(move || job.perform()) as Work))
        });
        let long = long.collect();
        let pod = self.directory.display().to_string();
        let all = short.into_iter().map(|job| (job, pod.clone())).map(|(job, pod)| async move {
            let (name, action) = (job.name.clone(), job.action);
            let done = match action {
                Action::Unstage => files.removal(move || job.perform()).await,
                Action::Unpublish if job.kind == Kind::Mounted => {
                    let place = job.place.clone();
                    let work = files.slow(Slow::Server, pod, move || job.perform());
                    out_of_sight(&name, place, work).await
                }
                Action::Stage | Action::Publish | Action::Unpublish => {
                    files.quick(move || job.perform()).await
                }
            };
            (name, action, done)
        });
        let mut failed = None;
        let (short, long) = (join_all(all).await, self.long(files, long).await);
        for (name, action, done) in short.into_iter().chain(long) {
            match done {
                Ok(()) => self.end(&name, action),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(true), Err)
    }

    /// The volumes that the pod has as they are wanted.
    fn published(&self, recipes: &BTreeMap<String, Arc<Recipe>>) -> Vec<(String, Arc<Recipe>)> {
        let is_published = |name: &String| {
            let known = self.records.as_ref().and_then(|records| records.get(name));
            known.is_some_and(|known| known.phase == Phase::Published)
        };
        let published = recipes.iter().filter(|(name, _)| is_published(name));
        published.map(|(name, recipe)| (name.clone(), Arc::clone(recipe))).collect()
    }

    /// Looks after volumes that the pod has: the machine may have been off, and what they show may have
    /// changed. They stay published meanwhile: what is shown changes all at once.
    async fn bring_up_to_date(
        &mut self,
        files: &FileWork,
        alone: &Alone,
        published: Vec<(String, Arc<Recipe>)>,
        running: bool,
    ) -> Result<(), VolumeError> {
        if published.is_empty() {
            return Ok(());
        }
        let (long, short): (Vec<_>, Vec<_>) =
            published.into_iter().partition(|(_, recipe)| recipe.slow(true).is_some());
        let long = long.into_iter().filter_map(|(name, recipe)| {
            let (place, held, kind) = (self.place(&name), Arc::clone(alone), recipe.slow(true)?);
            let work = {
                let name = name.clone();
                for_later(move || {
                    let _alone = held;
                    bring(&recipe, &name, &place, running)
                })
            };
            Some((name, Action::Publish, kind, work))
        });
        let long: Vec<Long> = long.collect();
        let (places, held) = (self.directory.join(PLACES), Arc::clone(alone));
        let looked_after = files.quick(move || {
            let _alone = held;
            let all = short.iter().map(|(name, recipe)| bring(recipe, name, &places.join(name), running));
            // One that cannot be made keeps no other from it.
            all.fold(Ok(()), Result::and)
        });
        let looked_after = looked_after.await;
        let long = self.long(files, long).await;
        long.into_iter().map(|(_, _, done)| done).fold(looked_after, Result::and)
    }

    /// Adds what lies in the pod's directory and is not written down: it was made by an earlier version, or
    /// the record was lost with the machine.
    async fn find_others(&mut self, files: &FileWork, alone: &Alone) -> Result<(), VolumeError> {
        let (places, held) = (self.directory.join(PLACES), Arc::clone(alone));
        let found = files.quick(move || {
            let _alone = held;
            base::fs::entries(&places)
        });
        let found = found.await.map_err(|source| self.failed("look for volumes in", source))?;
        let records = self.records.get_or_insert_default();
        for path in found {
            if let Some(name) =
                path.file_name().and_then(|name| name.to_str()).filter(|name| !name.starts_with(MAKING))
            {
                // Whatever it was: it is unmounted, and removed.
                let found = Recorded { kind: Kind::Directory, phase: Phase::Published };
                records.entry(name.to_owned()).or_insert(found);
            }
        }
        Ok(())
    }

    fn begin(&mut self, name: &str, action: Action, recipe: Option<&Arc<Recipe>>) {
        let records = self.records.get_or_insert_default();
        match (records.get_mut(name), recipe) {
            (Some(known), _) => known.phase = action.during(),
            (None, Some(recipe)) => {
                let recorded = Recorded { kind: recipe.kind(), phase: action.during() };
                records.insert(name.to_owned(), recorded);
            }
            (None, None) => {}
        }
    }

    fn end(&mut self, name: &str, action: Action) {
        let records = self.records.get_or_insert_default();
        match (action.done(), records.get_mut(name)) {
            (Some(phase), Some(known)) => known.phase = phase,
            (None, _) => drop(records.remove(name)),
            (Some(_), None) => {}
        }
    }

    /// Where a volume is, unless it is somewhere else on the host.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.directory.join(PLACES).join(name)
    }

    fn failed(&self, tried: &'static str, source: io::Error) -> VolumeError {
        VolumeError::Pod { tried, path: self.directory.clone(), source }
    }
}

/// Whether a name in a record is one of something in the directory, and not above it.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains('/')
}

/// Removes the pod's directory and all that is left in it.
fn remove_directory(directory: &Path) -> io::Result<()> {
    match base::tree::remove(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
