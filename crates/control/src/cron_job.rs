//! CronJobs: Jobs that are made again and again, each when its time has come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use client::api::{DeleteOptions, Propagation};
use client::recorder::{EventType, Recorder, reference};
use client::{Action, Api, Controller, Error, Freshness, ObjectKey, Reconcile, Resource as _, Store};
use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use parking_lot::Mutex;

use crate::job::finished;
use crate::{Context, meters};

mod plan;

use plan::{Start, View, forget, is_active, plan, started};

/// Runs the controller.
pub(crate) async fn run(context: Context, recorder: Recorder) {
    let crons = context.informers.of::<CronJob>();
    let jobs = context.informers.of::<Job>();
    let reconciler = Reconciler {
        crons: crons.store(),
        fresh: Freshness::new(jobs.store()),
        jobs: jobs.store(),
        written: Mutex::default(),
        recorder,
        context: context.clone(),
    };
    Controller::new("cronjob", &crons).owns(&jobs).run_by(reconciler, context.stop).await;
}

struct Reconciler {
    context: Context,
    crons: Store<CronJob>,
    jobs: Store<Job>,
    fresh: Freshness<Job>,
    /// Each as it was written last: the cache may not show it yet.
    written: Mutex<HashMap<ObjectKey, Arc<CronJob>>>,
    recorder: Recorder,
}

impl Reconcile for Reconciler {
    type Error = Error;

    async fn reconcile(&self, key: &ObjectKey) -> Result<Action, Error> {
        let Some(cron) = self.newest(key) else {
            self.fresh.forget(key);
            return Ok(Action::Done);
        };
        if !self.fresh.ready(key).await {
            return Ok(Action::After(Duration::from_secs(1)));
        }
        let jobs = self.jobs.by_controller(&key.namespace, cron.uid());
        let gone = self.gone(key, &cron, &jobs).await?;
        let view = View { cron: &cron, jobs: &jobs, gone: &gone, now: self.context.clock.now() };
        let plan = plan(&view);
        for (kind, reason, message) in plan.events {
            self.recorder.event(&*cron, kind, reason, message);
        }
        let mut status = plan.status;
        for job in &plan.remove {
            // What cannot be removed now is at the next look.
            let _ = self.remove(key, &cron, job.name(), job.uid(), &mut status).await;
        }
        let begun = match plan.start {
            Some(start) => self.start(key, &cron, start, &mut status).await,
            None => Ok(()),
        };
        let written = self.write(key, &cron, status).await?;
        begun?;
        if !written {
            return Ok(Action::After(Duration::from_millis(20)));
        }
        Ok(plan.wake.map_or(Action::Done, Action::After))
    }
}

impl Reconciler {
    fn newest(&self, key: &ObjectKey) -> Option<Arc<CronJob>> {
        let shown = self.crons.get(key);
        let mut all = self.written.lock();
        let written = all.get(key).filter(|written| {
            shown
                .as_ref()
                .is_some_and(|shown| shown.uid() == written.uid() && shown.revision() < written.revision())
        });
        match written {
            Some(written) => Some(written.clone()),
            None => {
                all.remove(key);
                shown
            }
        }
    }

    fn jobs_of(&self, key: &ObjectKey) -> Api<Job> {
        Api::namespaced(&self.context.client, &key.namespace)
    }

    /// The jobs, by uid, that are said to run and are not there. Asked of the API, since the cache may be behind.
    async fn gone(&self, key: &ObjectKey, cron: &CronJob, jobs: &[Arc<Job>]) -> Result<Vec<String>, Error> {
        let active = cron.status.iter().flat_map(|status| status.active.iter().flatten());
        let mut gone = Vec::new();
        for job in active {
            let (Some(uid), Some(name)) = (&job.uid, &job.name) else { continue };
            let is_shown = jobs.iter().any(|job| job.uid() == uid);
            if !is_shown && self.jobs_of(key).find(name).await?.is_none_or(|live| live.uid() != uid) {
                gone.push(uid.clone());
            }
        }
        Ok(gone)
    }

    /// Deletes a job and its pods.
    async fn remove(
        &self,
        key: &ObjectKey,
        cron: &CronJob,
        name: &str,
        uid: &str,
        status: &mut CronJobStatus,
    ) -> Result<(), Error> {
        let options = DeleteOptions::default().propagation(Propagation::Background).uid(uid);
        match self.jobs_of(key).delete(name, &options).await {
            Ok(()) => {
                let message = format!("Deleted job {name}");
                self.recorder.event(cron, EventType::Normal, "SuccessfulDelete", message);
            }
            Err(Error::NotFound(_) | Error::Conflict(_)) => {}
            Err(error) => {
                let message = format!("Deleted job: {error}");
                self.recorder.event(cron, EventType::Warning, "FailedDelete", message);
                return Err(error);
            }
        }
        forget(status, uid);
        Ok(())
    }

    async fn start(
        &self,
        key: &ObjectKey,
        cron: &CronJob,
        start: Start,
        status: &mut CronJobStatus,
    ) -> Result<(), Error> {
        for job in &start.replaces {
            let (name, uid) =
                (job.name.as_deref().unwrap_or_default(), job.uid.as_deref().unwrap_or_default());
            // Two of them are not to run at once: none is made before the other goes.
            self.remove(key, cron, name, uid, status).await?;
        }
        let jobs = self.jobs_of(key);
        let job = match jobs.create(&start.job).await {
            Ok(job) => {
                self.fresh.created(key, &job);
                let late = self.context.clock.now().duration_since(start.at);
                meters::job_made(Duration::try_from(late).unwrap_or_default());
                let message = format!("Created job {}", job.name());
                self.recorder.event(cron, EventType::Normal, "SuccessfulCreate", message);
                job
            }
            // The namespace is going away, and this with it.
            Err(Error::Forbidden(status)) if status.is_namespace_terminating() => return Ok(()),
            Err(Error::AlreadyExists(_)) => {
                // It was made and could not be named; or it is somebody else's.
                let live = jobs.find(start.job.name()).await?;
                let is_own = |job: &Job| {
                    job.controller().is_some_and(|owner| owner.uid == cron.uid())
                        && !is_active(status, job.uid())
                };
                match live.filter(is_own) {
                    Some(job) => job,
                    None => return Ok(()),
                }
            }
            Err(error) => {
                let message = format!("Error creating job: {error}");
                self.recorder.event(cron, EventType::Warning, "FailedCreate", message);
                return Err(error);
            }
        };
        // One that was made earlier and could not be named may have ended.
        let runs = finished(&job).is_none();
        started(status, start.at, runs.then(|| ObjectReference { field_path: None, ..reference(&job) }));
        Ok(())
    }

    /// Writes the status if it is another; says whether it could be.
    async fn write(&self, key: &ObjectKey, cron: &CronJob, status: CronJobStatus) -> Result<bool, Error> {
        if cron.status.as_ref().is_some_and(|before| *before == status)
            || cron.status.is_none() && status == CronJobStatus::default()
        {
            return Ok(true);
        }
        let changed = CronJob { status: Some(status), ..cron.clone() };
        match Api::<CronJob>::namespaced(&self.context.client, &key.namespace).update_status(&changed).await {
            Ok(mut written) => {
                written.forget_managers();
                self.written.lock().insert(key.clone(), Arc::new(written));
                Ok(true)
            }
            Err(Error::NotFound(_)) => Ok(true),
            Err(Error::Conflict(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
