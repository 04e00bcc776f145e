//! How many requests one server may hold, and how many of them one user.
//!
//! Whoever waits for somebody else keeps no other request from being served, and no other user: a user has a share, for
//! as long as the answer lasts. What all share is given back when the answer begins, and those who still send what they
//! ask with have a room of their own, since how long that takes is theirs to say.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many requests one server may hold, watches and streams aside: with bodies, and without.
const AT_ONCE: usize = 256;
/// So many of both one user may have with it.
const OF_ONE: usize = 64;

/// The room of one server.
pub(super) struct Room {
    sending: Arc<Semaphore>,
    asking: Arc<Semaphore>,
    users: Arc<Mutex<HashMap<String, usize>>>,
}

/// A request's place in it.
pub(super) struct Entered {
    room: Option<OwnedSemaphorePermit>,
    user: String,
    users: Arc<Mutex<HashMap<String, usize>>>,
}

impl Default for Room {
    fn default() -> Self {
        let room = || Arc::new(Semaphore::new(AT_ONCE));
        Self { sending: room(), asking: room(), users: Arc::default() }
    }
}

impl Room {
    /// Takes a place for a request of a user, if there is one. `sends` tells that it has a body.
    pub(super) fn enter(&self, user: &str, sends: bool) -> Option<Entered> {
        let room = if sends { &self.sending } else { &self.asking };
        let room = room.clone().try_acquire_owned().ok()?;
        let mut users = self.users.lock();
        let held = users.entry(user.to_owned()).or_default();
        if *held >= OF_ONE {
            return None;
        }
        *held += 1;
        Some(Entered { room: Some(room), user: user.to_owned(), users: self.users.clone() })
    }
}

impl Entered {
    /// The answer begins: only the user's share is still used.
    pub(super) fn answered(&mut self) {
        self.room = None;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut users = self.users.lock();
        if let Some(held) = users.get_mut(&self.user) {
            *held -= 1;
            if *held == 0 {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_does_not_take_it_from_all_others() {
        let room = Room::default();
        let take = |user: &str, sends: bool| -> Vec<Entered> {
            (0..AT_ONCE).map_while(|_| room.enter(user, sends)).collect()
        };
        let mut of_eve = take("eve", false);
        assert_eq!(of_eve.len(), OF_ONE);
        assert!(room.enter("eve", true).is_none() && room.enter("jane", false).is_some());
        // An answer that has begun keeps the share and nothing of the room.
        of_eve.iter_mut().for_each(Entered::answered);
        assert!(room.enter("eve", false).is_none());
        let users = ["a", "b", "c", "d", "e"];
        let of_all: Vec<Entered> = users.iter().flat_map(|user| take(user, false)).collect();
        assert_eq!(of_all.len(), AT_ONCE);
        // Whoever takes long to send keeps nobody from asking, and the other way round.
        assert!(room.enter("jane", false).is_none() && room.enter("jane", true).is_some());
        drop((of_all, of_eve));
        assert!(room.users.lock().is_empty());
        assert!(room.enter("eve", false).is_some());
    }
}
