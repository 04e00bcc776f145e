//! Going through a definition: each operation when what it stands on is there, independent ones at once.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use llb::pb::op::Op;
use llb::{Edge, Graph, Vertex};
use oci::Digest;

use super::error::Location;
use super::event::{Event, LogEvent, ProgressGroup, StatusEvent, VertexEvent};
use super::flight::Flight;
use super::job::Job;
use super::operate::{Followed, Said};
use super::value::{Chain, Value};
use super::{SolveError, now};

/// An operation that is being done.
pub(crate) struct Step<'a> {
    pub(crate) job: &'a Job,
    pub(crate) vertex: &'a Vertex,
    /// What its inputs came to, in their order.
    pub(crate) inputs: Vec<Value>,
    /// The right to do it, once it has that.
    pub(crate) flight: std::sync::OnceLock<Flight>,
    /// Who follows it closely, if somebody does.
    pub(crate) followed: Option<&'a Followed>,
}

/// What an operation came to, and whether it had been done before.
pub(crate) struct Done {
    pub(crate) outputs: Vec<Value>,
    pub(crate) cached: bool,
}

/// Does what an output of a graph needs, and gives it.
///
/// Nothing here waits inside of something that waits: a graph may be thousands of operations deep.
pub(crate) async fn output(job: &Job, graph: &Arc<Graph>, edge: Edge) -> Result<Value, SolveError> {
    let needed = needed(graph, edge.vertex);
    let mut values: Vec<Option<Vec<Value>>> = vec![None; graph.vertices().len()];
    // How many inputs are still missing, and who waits for whom.
    let mut missing = vec![0; graph.vertices().len()];
    let mut waiting: Vec<Vec<usize>> = vec![Vec::new(); graph.vertices().len()];
    let mut running = FuturesUnordered::new();
    let begin = |place: usize, values: &[Option<Vec<Value>>]| {
        let vertex = graph.vertex(place);
        let inputs: Result<Vec<Value>, SolveError> =
            vertex.inputs.iter().map(|input| pick(values[input.vertex].as_deref(), input.index)).collect();
        async move {
            let done = match inputs {
                Ok(inputs) => vertex_done(job, graph, place, inputs).await,
                Err(error) => Err(error),
            };
            (place, done)
        }
    };
    for place in &needed {
        let vertex = graph.vertex(*place);
        announce(job, graph, vertex);
        let inputs: HashSet<usize> = vertex.inputs.iter().map(|input| input.vertex).collect();
        missing[*place] = inputs.len();
        inputs.into_iter().for_each(|input| waiting[input].push(*place));
    }
    for place in &needed {
        if missing[*place] == 0 {
            running.push(begin(*place, &values));
        }
    }
    while let Some((place, done)) = running.next().await {
        // The first that fails ends the others: they are dropped with what they have under way.
        values[place] = Some(done?);
        for next in std::mem::take(&mut waiting[place]) {
            missing[next] -= 1;
            if missing[next] == 0 {
                running.push(begin(next, &values));
            }
        }
    }
    pick(values[edge.vertex].as_deref(), edge.index)
}

/// The operations that one needs, and itself, inputs first.
fn needed(graph: &Graph, vertex: usize) -> Vec<usize> {
    let (mut seen, mut pending) = (HashSet::from([vertex]), vec![vertex]);
    while let Some(place) = pending.pop() {
        pending.extend(
            graph.vertex(place).inputs.iter().map(|input| input.vertex).filter(|at| seen.insert(*at)),
        );
    }
    let mut needed: Vec<usize> = seen.into_iter().collect();
    needed.sort_unstable();
    needed
}

fn pick(outputs: Option<&[Value]>, index: usize) -> Result<Value, SolveError> {
    let picked = outputs.and_then(|outputs| outputs.get(index)).cloned();
    picked.ok_or_else(|| SolveError::Invalid(format!("there is no output {index} of an operation")))
}

/// Does an operation, unless it has been done in this job: everybody in it hears of the same.
async fn vertex_done(
    job: &Job,
    graph: &Graph,
    place: usize,
    inputs: Vec<Value>,
) -> Result<Vec<Value>, SolveError> {
    let vertex = graph.vertex(place);
    let cell = Arc::clone(job.inner.done.lock().entry(place_of(job, vertex)).or_default());
    let run = async || {
        let step = Step { job, vertex, inputs, flight: std::sync::OnceLock::new(), followed: None };
        let mut told = Told::begin(job, graph, vertex);
        let done = perform(&step).await;
        told.end(&done);
        match done {
            Ok(done) => Ok(done.outputs),
            Err(SolveError::Cancelled) => Err(SolveError::Cancelled),
            Err(error @ SolveError::Vertex { .. }) => Err(error),
            Err(error) => Err(SolveError::Vertex {
                digest: vertex.digest.clone(),
                name: vertex.name.clone(),
                location: location(graph, vertex),
                source: Arc::new(error),
            }),
        }
    };
    cell.get_or_init(run).await.clone()
}

/// Where what an operation came to is kept. A build inside of a build may have any operation in it, also the one that
/// it is: that waits for those that are deeper, and never for itself.
fn place_of(job: &Job, vertex: &Vertex) -> (Digest, usize) {
    let depth = if matches!(vertex.op.op, Some(Op::Build(_))) { job.depth } else { 0 };
    (vertex.digest.clone(), depth)
}

pub(super) async fn perform(step: &Step<'_>) -> Result<Done, SolveError> {
    let Some(op) = &step.vertex.op.op else {
        return Err(SolveError::Invalid("an operation does nothing".to_owned()));
    };
    match op {
        Op::Source(source) => super::source::perform(step, source).await,
        Op::Exec(exec) => super::exec::perform(step, exec).await,
        Op::File(file) => super::file::perform(step, file).await,
        Op::Merge(merge) => super::stack::merge(step, merge).await,
        Op::Diff(diff) => super::stack::diff(step, diff).await,
        Op::Passthrough(pass) => {
            let outputs: Result<Vec<Value>, SolveError> =
                pass.outputs.iter().map(|number| step.input(*number)).collect();
            Ok(Done { outputs: outputs?, cached: false })
        }
        Op::Build(build) => super::nested::perform(step, build).await,
    }
}

impl Step<'_> {
    /// What an input came to; nothing at all for the number that stands for that.
    pub(crate) fn input(&self, number: i64) -> Result<Value, SolveError> {
        if number == llb::EMPTY {
            return Ok(Value::Chain(Chain::default()));
        }
        let input = usize::try_from(number).ok().and_then(|number| self.inputs.get(number)).cloned();
        input.ok_or_else(|| SolveError::Invalid(format!("there is no input {number}")))
    }

    /// What it is built for.
    pub(crate) fn platform(&self) -> oci::Platform {
        match &self.vertex.op.platform {
            Some(of) if !of.os.is_empty() || !of.architecture.is_empty() => {
                oci::Platform::new(&of.os, &of.architecture, &of.variant)
            }
            _ => self.job.platform(),
        }
    }

    /// Tells what it writes, also to those who wait for the same.
    pub(crate) async fn tell(&self, log: LogEvent) {
        if let Some(flight) = self.flight.get() {
            flight.tell(Event::Log(log.clone()));
        }
        match self.followed {
            Some(followed) => followed.say(Said::wrote(log)).await,
            None => self.job.inner.events.tell(Event::Log(log)),
        }
    }

    /// Hears what the same operation of another job says.
    pub(crate) fn hear(&self, event: Event) {
        let Event::Log(log) = event else { return };
        match self.followed {
            Some(followed) => followed.hear(Said::wrote(log)),
            None => {
                let vertex = self.vertex.digest.clone();
                self.job.inner.events.tell(Event::Log(LogEvent { vertex, ..log }));
            }
        }
    }

    /// Tells how far a part of it has come.
    pub(crate) fn status(&self, id: &str) -> Progress {
        Progress {
            job: self.job.inner.events.clone(),
            vertex: self.vertex.digest.clone(),
            id: id.to_owned(),
            started: now(),
            said: self.followed.map(|followed| followed.said.clone()),
        }
    }
}

/// A part of an operation that is under way.
#[derive(Clone)]
pub(crate) struct Progress {
    job: super::event::EventLog,
    vertex: Digest,
    id: String,
    started: base::Timestamp,
    /// Who follows the operation hears of it instead.
    said: Option<tokio::sync::mpsc::Sender<Said>>,
}

impl Progress {
    /// A part of a vertex of a job.
    pub(crate) fn new(job: &Job, vertex: &Digest, id: &str) -> Self {
        Self {
            job: job.inner.events.clone(),
            vertex: vertex.clone(),
            id: id.to_owned(),
            started: now(),
            said: None,
        }
    }

    pub(crate) fn tell(&self, current: u64, total: u64, is_done: bool) {
        if let Some(said) = &self.said {
            // Whoever has no room for it hears of the next.
            let _ = said.try_send(Said::Came(current, total));
            return;
        }
        self.job.tell(Event::Status(StatusEvent {
            id: self.id.clone(),
            vertex: self.vertex.clone(),
            // What is done, where that is said with what it is done to.
            name: self.id.split_once(' ').map(|(action, _)| action.to_owned()).unwrap_or_default(),
            current,
            total,
            at: now(),
            started: Some(self.started),
            completed: is_done.then(now),
        }));
    }
}

/// Tells of an operation: that it began, and how it ended, also if nobody waits for that any more.
struct Told<'a> {
    job: &'a Job,
    event: VertexEvent,
    ended: bool,
}

impl<'a> Told<'a> {
    fn begin(job: &'a Job, graph: &Graph, vertex: &Vertex) -> Self {
        let event = VertexEvent { started: Some(now()), ..view(graph, vertex) };
        job.inner.events.tell(Event::Vertex(event.clone()));
        Self { job, event, ended: false }
    }

    fn end(&mut self, done: &Result<Done, SolveError>) {
        self.ended = true;
        self.event.completed = Some(now());
        match done {
            Ok(done) => self.event.cached = done.cached,
            Err(error) => self.event.error = Some(error.to_string()),
        }
        self.job.inner.events.tell(Event::Vertex(self.event.clone()));
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.end(&Err(SolveError::Cancelled));
        }
    }
}

/// Tells that an operation is going to be done.
fn announce(job: &Job, graph: &Graph, vertex: &Vertex) {
    let known = job.inner.done.lock().contains_key(&place_of(job, vertex));
    if !known {
        job.inner.events.tell(Event::Vertex(view(graph, vertex)));
    }
}

fn view(graph: &Graph, vertex: &Vertex) -> VertexEvent {
    let group = vertex.metadata.progress_group.as_ref();
    VertexEvent {
        digest: vertex.digest.clone(),
        inputs: vertex.inputs.iter().map(|input| graph.vertex(input.vertex).digest.clone()).collect(),
        name: vertex.name.clone(),
        started: None,
        completed: None,
        cached: false,
        error: None,
        progress_group: group.map(|group| ProgressGroup {
            id: group.id.clone(),
            name: group.name.clone(),
            weak: group.weak,
        }),
    }
}

/// Where an operation was written down, if its definition says so.
fn location(graph: &Graph, vertex: &Vertex) -> Option<Arc<Location>> {
    let source = graph.source()?;
    let locations = source.locations.get(&vertex.digest.to_string())?;
    let found = locations.locations.first()?;
    let info = source.infos.get(usize::try_from(found.source_index).ok()?)?.clone();
    Some(Arc::new(Location { info, ranges: found.ranges.clone() }))
}
