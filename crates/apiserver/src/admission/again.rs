//! How often others are asked of one write, and what they keep in between.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// How often others are asked to change what is written: once, or twice.
#[derive(Default)]
pub(crate) struct Again {
    wanted: AtomicBool,
    second: AtomicBool,
    /// Somebody put in what nobody has looked at yet.
    reformed: AtomicBool,
    kept: Mutex<Vec<(&'static str, Box<dyn Any + Send>)>>,
}

impl Again {
    pub(super) fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_second(&self) -> bool {
        self.second.load(Ordering::Relaxed)
    }

    pub(super) fn reforms(&self) {
        self.reformed.store(true, Ordering::Relaxed);
    }

    /// Whether somebody put in what nobody has looked at yet.
    pub(crate) fn is_reformed(&self) -> bool {
        self.reformed.load(Ordering::Relaxed)
    }

    /// All have been asked. Whether they are to be asked once more.
    pub(crate) fn begin(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) && !self.second.swap(true, Ordering::Relaxed)
    }

    pub(super) fn kept<T: Default + Send + 'static, R>(
        &self,
        name: &'static str,
        look: impl FnOnce(&mut T) -> R,
    ) -> R {
        let mut kept = self.kept.lock();
        let place = kept.iter().position(|(of, it)| *of == name && it.is::<T>());
        let place = place.unwrap_or_else(|| {
            kept.push((name, Box::new(T::default())));
            kept.len() - 1
        });
        look(kept[place].1.downcast_mut().expect("it was found, or made, as one of these"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_asked_twice_at_most_and_keep_what_they_like() {
        let again = Again::default();
        assert!(!again.begin() && !again.is_second());
        again.want();
        assert!(again.begin() && again.is_second());
        again.want();
        assert!(!again.begin(), "twice is enough");
        again.kept("a", |number: &mut u8| *number = 7);
        again.kept("b", |number: &mut u8| assert_eq!(*number, 0));
        again.kept("a", |text: &mut String| assert_eq!(text, ""));
        again.kept("a", |number: &mut u8| assert_eq!(*number, 7));
    }
}
