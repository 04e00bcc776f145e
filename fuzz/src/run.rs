//! Feeding a target.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Context;
use fastrand::Rng;

use crate::coverage::Coverage;
use crate::mutate;
use crate::{ALLOCATED, Target};

/// What reading one input may need in memory: so much, and so many times its length.
const MEMORY: usize = 128 << 20;
const MEMORY_TIMES: usize = 256;
/// How long reading one input may take, where somebody waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many inputs are kept to be changed further.
const KEPT: usize = 4096;

/// When to end.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// After so many inputs.
    Turns(u64),
    /// After so long; then an input that takes too long is a find as well.
    Time(Duration),
}

/// How to feed.
#[derive(Clone, Debug)]
pub struct Options {
    /// What all inputs follow from.
    pub seed: u64,
    /// When to end.
    pub limit: Limit,
    /// Where the input of the moment and finds are kept, and what was learned for the next time.
    pub directory: PathBuf,
    /// Whether what was learned before is begun with, and what is learned is kept.
    pub learns: bool,
}

/// What was done.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Inputs that were read.
    pub turns: u64,
    /// Those that the target took.
    pub taken: u64,
    /// Inputs that are changed further.
    pub kept: usize,
    /// Places of the program that were reached, where that is counted.
    pub reached: Option<usize>,
}

/// An input that the target does not bear.
#[derive(Debug, thiserror::Error)]
pub enum Found {
    /// It panicked.
    #[error("`{target}` does not bear what is in {}: {said}", path.display())]
    Panic {
        /// The target.
        target: &'static str,
        /// The shortest input that was found to do it.
        path: PathBuf,
        /// What the panic said.
        said: String,
    },
    /// The feeding itself did not work.
    #[error("feed the target")]
    Broken(#[source] anyhow::Error),
}

/// Feeds `target` until the limit, or until something is found.
pub fn run(target: &Target, options: &Options) -> Result<Report, Found> {
    let mut feeding = Feeding::new(target, options).map_err(Found::Broken)?;
    feeding.feed()
}

struct Feeding<'a> {
    target: &'a Target,
    options: &'a Options,
    rng: Rng,
    inputs: Vec<Vec<u8>>,
    coverage: Option<Coverage>,
    /// The input of the moment, for the case that nobody is left to tell; where it does not follow from the
    /// seed how far it came.
    current: Option<(File, PathBuf)>,
    began: Instant,
    turns: u64,
    taken: u64,
}

impl<'a> Feeding<'a> {
    fn new(target: &'a Target, options: &'a Options) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&options.directory).context("make the directory for finds")?;
        let mut inputs = (target.examples)();
        if options.learns {
            inputs.extend(learned(&place(options, target))?);
        }
        let path = options.directory.join(format!("{}.current", target.name));
        let current = match options.limit {
            Limit::Time(_) => Some((File::create(&path).context("make a file for the input")?, path)),
            Limit::Turns(_) => None,
        };
        Ok(Self {
            target,
            options,
            rng: Rng::with_seed(options.seed),
            inputs,
            coverage: Coverage::open()?,
            current,
            began: Instant::now(),
            turns: 0,
            taken: 0,
        })
    }

    fn feed(&mut self) -> Result<Report, Found> {
        let watch = self.current.as_ref().map(|(_, path)| Watch::start(path.clone()));
        let examples = self.inputs.clone();
        for example in &examples {
            self.turn(example, watch.as_ref())?;
        }
        while match self.options.limit {
            Limit::Turns(most) => self.turns < most,
            Limit::Time(most) => self.began.elapsed() < most,
        } {
            let input = &self.inputs[self.rng.usize(..self.inputs.len())];
            let other = &self.inputs[self.rng.usize(..self.inputs.len())];
            let changed = mutate::change(self.target, input, other, &mut self.rng);
            if self.turn(&changed, watch.as_ref())? {
                self.keep(changed).map_err(Found::Broken)?;
            }
        }
        if let Some((_, path)) = &self.current {
            let _ = std::fs::remove_file(path);
        }
        Ok(Report {
            turns: self.turns,
            taken: self.taken,
            kept: self.inputs.len(),
            reached: self.coverage.as_ref().map(Coverage::reached),
        })
    }

    /// Feeds one input; says whether it is worth to be changed further.
    fn turn(&mut self, input: &[u8], watch: Option<&Watch>) -> Result<bool, Found> {
        let broken = Found::Broken;
        self.turns += 1;
        if let Some((file, _)) = &self.current {
            let kept = file.write_all_at(input, 0).and_then(|()| file.set_len(input.len() as u64));
            kept.context("keep the input").map_err(broken)?;
        }
        if let Some(coverage) = &self.coverage {
            coverage.clear().map_err(broken)?;
        }
        if let Some(watch) = watch {
            watch.begin();
        }
        let outcome = read(self.target, input);
        if let Some(watch) = watch {
            watch.end();
        }
        let taken = match outcome {
            Ok(taken) => taken,
            Err(said) => return Err(self.found(input, said)),
        };
        self.taken += u64::from(taken);
        match &mut self.coverage {
            Some(coverage) => coverage.is_new().map_err(broken),
            None => Ok(taken),
        }
    }

    fn keep(&mut self, input: Vec<u8>) -> anyhow::Result<()> {
        if self.options.learns {
            let place = place(self.options, self.target);
            std::fs::create_dir_all(&place).context("make the directory for inputs")?;
            let name = format!("{}-{}", self.options.seed, self.turns);
            std::fs::write(place.join(name), &input).context("keep an input")?;
        }
        if self.inputs.len() < KEPT {
            self.inputs.push(input);
        } else {
            // Never one of the examples, which come first.
            let examples = (self.target.examples)().len();
            let at = self.rng.usize(examples.min(KEPT - 1)..KEPT);
            self.inputs[at] = input;
        }
        Ok(())
    }

    /// Makes the input shorter as long as it does the same, and keeps it.
    fn found(&self, input: &[u8], said: String) -> Found {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let mut shortest = input.to_vec();
        let mut size = shortest.len().div_ceil(2).max(1);
        loop {
            let mut at = 0;
            while at < shortest.len() {
                let mut shorter = shortest.clone();
                shorter.drain(at..(at + size).min(shortest.len()));
                if read(self.target, &shorter).is_err() { shortest = shorter } else { at += size }
            }
            if size == 1 {
                break;
            }
            size = size.div_ceil(2);
        }
        std::panic::set_hook(hook);
        let path = self.options.directory.join(format!("{}.found", self.target.name));
        match std::fs::write(&path, &shortest).context("keep what was found") {
            Ok(()) => Found::Panic { target: self.target.name, path, said },
            Err(error) => Found::Broken(error),
        }
    }
}

/// Feeds one input within its memory; an error is what the panic said.
fn read(target: &Target, input: &[u8]) -> Result<bool, String> {
    let most = MEMORY.max(input.len().saturating_mul(MEMORY_TIMES));
    // More than that ends the process: whoever is refused memory gives up.
    let _ = ALLOCATED.set_limit(ALLOCATED.allocated() + most);
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.read)(input)));
    let _ = ALLOCATED.set_limit(usize::MAX);
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
    })
}

fn place(options: &Options, target: &Target) -> PathBuf {
    options.directory.join(target.name)
}

/// What was kept before.
fn learned(place: &Path) -> anyhow::Result<Vec<Vec<u8>>> {
    let entries = match std::fs::read_dir(place) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).context("list what was learned"),
    };
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.context("list what was learned")?.path());
    }
    paths.sort();
    paths.truncate(KEPT);
    paths.into_iter().map(|path| std::fs::read(path).context("read what was learned")).collect()
}

/// Ends the process where an input takes too long: nobody else can.
struct Watch {
    since: std::sync::Arc<Mutex<Option<Instant>>>,
}

impl Watch {
    fn start(current: PathBuf) -> Self {
        let since = std::sync::Arc::new(Mutex::new(None::<Instant>));
        let seen = std::sync::Arc::downgrade(&since);
        std::thread::spawn(move || {
            while let Some(since) = seen.upgrade() {
                let late =
                    since.lock().is_ok_and(|since| since.is_some_and(|since| since.elapsed() > PATIENCE));
                drop(since);
                if late {
                    eprintln!("what is in {} takes more than {PATIENCE:?}", current.display());
                    std::process::abort();
                }
                std::thread::sleep(PATIENCE / 20);
            }
        });
        Self { since }
    }

    fn begin(&self) {
        *self.since.lock().expect("nobody panics with it") = Some(Instant::now());
    }

    fn end(&self) {
        *self.since.lock().expect("nobody panics with it") = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Shape;

    fn target(read: fn(&[u8]) -> bool) -> Target {
        Target {
            name: "test",
            shape: Shape::Plain,
            examples: || vec![b"some text that is longer than it need be".to_vec()],
            words: &["key"],
            read,
            turns: 0,
        }
    }

    fn feed(target: &Target, turns: u64) -> (tempfile::TempDir, Result<Report, Found>) {
        let directory = tempfile::tempdir().expect("temporary directory");
        let options = Options {
            seed: 7,
            limit: Limit::Turns(turns),
            directory: directory.path().into(),
            learns: false,
        };
        let outcome = run(target, &options);
        (directory, outcome)
    }

    #[test]
    fn what_a_target_does_not_bear_is_found_and_made_short() {
        let target = target(|bytes| {
            assert!(!bytes.windows(3).any(|word| word == b"key"), "the key");
            true
        });
        let (_directory, outcome) = feed(&target, 10_000);
        let Err(Found::Panic { path, said, .. }) = outcome else { panic!("{outcome:?}") };
        assert_eq!(said, "the key");
        assert_eq!(std::fs::read(path).expect("it was kept"), b"key");
    }

    #[test]
    fn what_is_borne_is_counted() {
        let (_directory, outcome) = feed(&target(|bytes| bytes.len() < 40), 500);
        let report = outcome.expect("nothing is found");
        assert_eq!(report.turns, 500);
        assert!(report.taken > 0 && report.taken < 500, "{report:?}");
    }
}
