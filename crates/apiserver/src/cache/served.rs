//! Objects in the versions that they are served in, beside the one that they are stored in.
//!
//! What is made of an object for one version hangs on the object itself, as it is at one revision: all who
//! read that version share it, be they a hundred watchers, and it goes with the object. Whoever comes first
//! has it made; who comes meanwhile waits for the same, and shares its failure. Who comes after a failure
//! tries again. What is in the store's past only is made for each who reads it.

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use model::{Encoded, Object};
use parking_lot::Mutex;

use super::{Partition, Stored};
use crate::error::{Error, Result};
use crate::resource::{Resource, Served};

/// So many objects are converted together: whoever is asked far away is asked seldom, and what is computed
/// here holds up nobody for long.
const TOGETHER: usize = 64;
/// Of so many bytes together at most, where it is more than one: an answer is to be no longer than it may be
/// ([`crate::callout::LONGEST_ANSWER`]), and what comes back may be longer than what was given.
const BYTES: usize = 1 << 20;

/// What an object is in other versions than it is stored in.
#[derive(Default)]
pub(super) struct Forms(Mutex<Vec<(Served, Form)>>);

enum Form {
    Made(Arc<Stored>),
    /// It is under way, the object of this place among those that are made together. It ends with the last who
    /// waits for it, since nobody else would have it go on.
    Making(WeakShared<Work>, usize),
}

/// Goes on when one who waits for it goes on.
type Making = Shared<Work>;
type Work = BoxFuture<'static, Result<Arc<[Bytes]>>>;

/// What is to be done for one object.
enum Wanted {
    Known(Arc<Stored>),
    Waits(Making, usize),
}

impl Partition {
    /// `objects` of this partition as objects of the resource's version. Fails as a whole.
    pub(crate) async fn served(
        &self,
        resource: &Resource,
        objects: Vec<Arc<Stored>>,
    ) -> Result<Vec<Arc<Stored>>> {
        let Some(served) = &resource.storage.served else { return Ok(objects) };
        if objects.iter().all(|stored| is_current(served, stored)) {
            return Ok(objects);
        }
        let mut all = Vec::with_capacity(objects.len());
        let mut rest = &objects[..];
        while !rest.is_empty() {
            let (some, others) = rest.split_at(together(rest.iter().map(|stored| stored.len())));
            self.serve_some(resource, served, some, &mut all).await?;
            rest = others;
            tokio::task::coop::consume_budget().await;
        }
        Ok(all)
    }

    /// One object as an object of the resource's version.
    pub(crate) async fn served_one(&self, resource: &Resource, stored: Arc<Stored>) -> Result<Arc<Stored>> {
        let Some(served) = &resource.storage.served else { return Ok(stored) };
        if is_current(served, &stored) {
            return Ok(stored);
        }
        let mut one = Vec::with_capacity(1);
        self.serve_some(resource, served, &[stored], &mut one).await?;
        Ok(one.remove(0))
    }

    /// Whether an object is known in the resource's version, so that nothing has to be waited for.
    pub(crate) fn is_served(&self, resource: &Resource, stored: &Stored) -> bool {
        let Some(served) = &resource.storage.served else { return true };
        is_current(served, stored) || stored.forms().is_made(served)
    }

    async fn serve_some(
        &self,
        resource: &Resource,
        served: &Served,
        objects: &[Arc<Stored>],
        all: &mut Vec<Arc<Stored>>,
    ) -> Result<()> {
        let (give, take) = futures::channel::oneshot::channel::<(Served, Vec<Encoded>)>();
        let defaults = resource.defaults.clone().filter(|_| !served.settles());
        let making = async move {
            let (served, stored) = take.await.expect("it is given before anybody can wait");
            let mut objects = stored.iter().map(read).collect::<Result<Vec<Object>>>()?;
            for (object, stored) in objects.iter_mut().zip(&stored) {
                served.settle(object, stored.revision())?;
            }
            let converted = served.convert(objects, &served.version).await?;
            let texts = converted.into_iter().zip(&stored).map(|(mut object, stored)| {
                if let Some(defaults) = &defaults {
                    defaults(object.fields_mut()).map_err(|error| Error::internal(&error))?;
                }
                let text = Encoded::encode(&object);
                // Where nothing has changed there is one buffer.
                Ok(if text == stored.text() { stored.text().clone() } else { text })
            });
            texts.collect()
        };
        let making: Making = making.boxed().shared();
        let mut begun: Vec<Encoded> = Vec::new();
        let mut wanted = Vec::with_capacity(objects.len());
        for stored in objects {
            wanted.push(if is_current(served, stored) {
                Wanted::Known(stored.clone())
            } else {
                stored.forms().find_or(served, || {
                    begun.push(stored.encoded().clone());
                    (making.clone(), begun.len() - 1)
                })
            });
        }
        // Nothing is waited for until here: what is under way is always begun.
        let _ = give.send((served.clone(), begun));
        for (stored, wanted) in objects.iter().zip(wanted) {
            all.push(match wanted {
                Wanted::Known(known) => known,
                Wanted::Waits(making, place) => {
                    let outcome = making.clone().await;
                    stored.forms().settle(served, &making, outcome, |texts| {
                        Arc::new(self.stored(stored.name.clone(), texts[place].clone(), stored.revision()))
                    })?
                }
            });
        }
        Ok(())
    }
}

/// How many of the next objects, of these lengths, are converted together: one at least.
fn together(lengths: impl Iterator<Item = usize>) -> usize {
    let mut left = BYTES;
    let fitting = lengths.take(TOGETHER).take_while(|length| {
        let rest = left.checked_sub(*length);
        left = rest.unwrap_or_default();
        rest.is_some()
    });
    fitting.count().max(1)
}

/// Whether an object is in a version as it is stored.
fn is_current(served: &Served, stored: &Stored) -> bool {
    stored.is_of(&served.head) && !served.is_before(stored.revision())
}

/// What cannot be read cannot be converted.
fn read(encoded: &Encoded) -> Result<Object> {
    encoded.object().map_err(|error| Error::internal(&error))
}

impl Forms {
    fn is_made(&self, served: &Served) -> bool {
        let forms = self.0.lock();
        forms.iter().any(|(of, form)| of.is_same(served) && matches!(form, Form::Made(_)))
    }

    /// What is known of the object in a version, or what `begin` begins.
    fn find_or(&self, served: &Served, begin: impl FnOnce() -> (Making, usize)) -> Wanted {
        let mut forms = self.0.lock();
        let known = forms.iter().find(|(of, _)| of.is_same(served)).and_then(|(_, form)| match form {
            Form::Made(made) => Some(Wanted::Known(made.clone())),
            // Where all who waited have gone it is begun anew.
            Form::Making(making, place) => Some(Wanted::Waits(making.upgrade()?, *place)),
        });
        known.unwrap_or_else(|| {
            // What another conversion into the same version has made is of no use any more.
            forms.retain(|(of, _)| of.version != served.version);
            let (making, place) = begin();
            if let Some(weak) = making.downgrade() {
                forms.push((served.clone(), Form::Making(weak, place)));
            }
            Wanted::Waits(making, place)
        })
    }

    /// What was under way is done: one for all who waited, or forgotten where it failed.
    fn settle(
        &self,
        served: &Served,
        making: &Making,
        outcome: Result<Arc<[Bytes]>>,
        make: impl FnOnce(&[Bytes]) -> Arc<Stored>,
    ) -> Result<Arc<Stored>> {
        let mut forms = self.0.lock();
        let place = forms.iter().position(|(of, _)| of.is_same(served));
        match (outcome, place.map(|place| (place, &forms[place].1))) {
            (Ok(_), Some((_, Form::Made(made)))) => Ok(made.clone()),
            (Ok(texts), place) => {
                let made = make(&texts);
                if let Some((place, _)) = place {
                    forms[place].1 = Form::Made(made.clone());
                }
                Ok(made)
            }
            (Err(error), Some((place, Form::Making(is, _))))
                if is.upgrade().is_none_or(|is| is.ptr_eq(making)) =>
            {
                forms.remove(place);
                Err(error)
            }
            (Err(error), _) => Err(error),
        }
    }
}

impl std::fmt::Debug for Forms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forms").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_objects_are_converted_together_where_they_are_large() {
        let check = |lengths: &[usize], expected| {
            assert_eq!(together(lengths.iter().copied()), expected, "{lengths:?}");
        };
        check(&[10; 200], TOGETHER);
        check(&[BYTES / 4; 200], 4);
        check(&[BYTES + 1, 1], 1);
        check(&[1, BYTES, 1], 1);
        check(&[BYTES - 1, 1, 1], 2);
        check(&[1], 1);
    }

    #[tokio::test]
    async fn a_conversion_ends_with_the_last_who_waits_for_it() {
        let permits = Arc::new(tokio::sync::Semaphore::new(1));
        let kind = model::GroupVersionKind::new("g.io", "v1", "K");
        let conversion = crate::resource::Conversion::functions(kind.clone(), |_| {}, |_| {});
        let served =
            Resource::new(&kind, "ks").stored_as(conversion).storage.served.expect("it is converted");
        let forms = Forms::default();
        let begin = || {
            let permits = permits.clone();
            let making = async move {
                let _permit = permits.acquire_owned().await;
                std::future::pending::<Result<Arc<[Bytes]>>>().await
            };
            (making.boxed().shared(), 0)
        };
        for _ in 0..2 {
            let Wanted::Waits(first, _) = forms.find_or(&served, begin) else { panic!("nothing is made") };
            let joins = forms.find_or(&served, || panic!("it is under way"));
            let Wanted::Waits(second, _) = joins else { panic!("nothing is made") };
            assert!(first.ptr_eq(&second));
            assert!(first.clone().now_or_never().is_none());
            assert_eq!(permits.available_permits(), 0);
            drop(first);
            assert_eq!(permits.available_permits(), 0, "somebody waits");
            drop(second);
            assert_eq!(permits.available_permits(), 1);
        }
    }
}
