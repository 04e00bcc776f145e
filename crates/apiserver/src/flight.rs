//! How many requests may be under way at once, and whose.
//!
//! Users share places, of which nobody takes more than a part; the server's own components (controllers,
//! node agents) have places of their own, so that no number of users keeps a cluster from working.

use std::collections::HashMap;
use std::sync::Arc;

use model::Status;
use parking_lot::Mutex;

use crate::error::Result;
use crate::identity::Identity;

/// Requests that read, and requests that write, of all users together: as in Kubernetes, twice.
const USERS: [usize; 2] = [800, 400];
/// The same of one user.
const ONE_USER: [usize; 2] = [600, 300];
/// The same of the server's own components.
const OWN: [usize; 2] = [800, 400];

/// Bounds the requests under way. Watches, logs and streams do not count: they wait, not work.
#[derive(Default)]
pub(crate) struct Flight {
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    own: [usize; 2],
    users: [usize; 2],
    by_user: HashMap<String, [usize; 2]>,
}

/// A place, kept until it is dropped.
#[must_use]
pub(crate) struct Place {
    taken: Arc<Mutex<Taken>>,
    /// The user; none for one of the server's own components.
    user: Option<String>,
    kind: usize,
}

impl Flight {
    /// A place; refused with 429 where there is none.
    pub(crate) fn admit(&self, identity: &Identity, read: bool) -> Result<Place> {
        let kind = usize::from(!read);
        let user = (!identity.is_component()).then(|| identity.user.clone());
        let mut taken = self.taken.lock();
        let free = match &user {
            None => taken.own[kind] < OWN[kind],
            Some(user) => {
                taken.users[kind] < USERS[kind]
                    && taken.by_user.get(user).is_none_or(|of_user| of_user[kind] < ONE_USER[kind])
            }
        };
        if !free {
            let message = "Too many requests, please try again later.";
            return Err(Status::too_many_requests(message, 1).into());
        }
        match &user {
            None => taken.own[kind] += 1,
            Some(user) => {
                taken.users[kind] += 1;
                match taken.by_user.get_mut(user) {
                    Some(of_user) => of_user[kind] += 1,
                    None => {
                        let mut of_user = [0; 2];
                        of_user[kind] = 1;
                        taken.by_user.insert(user.clone(), of_user);
                    }
                }
            }
        }
        Ok(Place { taken: self.taken.clone(), user, kind })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        let Some(user) = &self.user else {
            taken.own[self.kind] -= 1;
            return;
        };
        taken.users[self.kind] -= 1;
        if let Some(of_user) = taken.by_user.get_mut(user) {
            of_user[self.kind] -= 1;
            if *of_user == [0; 2] {
                taken.by_user.remove(user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_one_user_nor_all_of_them_take_every_place() {
        let flight = Flight::default();
        let user = |name: &str| Identity::new(name, ["developers"]);
        let admit = |identity: &Identity, count: usize| -> Vec<Place> {
            (0..count).filter_map(|_| flight.admit(identity, true).ok()).collect()
        };
        let of_one = admit(&user("a"), 10_000);
        assert_eq!(of_one.len(), 600);
        let of_another = admit(&user("b"), 10_000);
        assert_eq!(of_another.len(), 200);
        assert_eq!(flight.admit(&user("c"), true).err().map(|e| e.code().as_u16()), Some(429));
        assert!(flight.admit(&user("c"), false).is_ok(), "writes have places of their own");
        for own in [
            Identity::component("kube-scheduler"),
            Identity::controller("job-controller"),
            Identity::node("n1"),
            Identity::server(),
        ] {
            assert!(flight.admit(&own, true).is_ok(), "{}", own.user);
        }
        drop((of_one, of_another));
        assert_eq!(admit(&user("c"), 10_000).len(), 600);
        assert!(flight.taken.lock().by_user.is_empty());
    }
}
