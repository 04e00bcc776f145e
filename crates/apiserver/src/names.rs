//! Names outside of the cluster: where they lead, and whereto nobody is led.
//!
//! The system is asked for a name on threads of their own, of which there are few, since it may take long over a name
//! of which nobody knows anything: whoever asks for other work that blocks never waits for that. All who want to know
//! the same name wait for one answer, and that there is none is known for a while.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use offload::Threads;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::node::Duplex;
use crate::state::State;

/// So many names are asked for at a time, and so many are waited for or remembered.
const AT_ONCE: usize = 8;
const KNOWN: usize = 1024;
/// How long it is known that there is no such name.
const ABSENT_FOR: Duration = Duration::from_secs(10);

type Answer = Result<Arc<[IpAddr]>, Arc<str>>;
/// How the system is asked.
type Look = fn(&str) -> io::Result<Vec<IpAddr>>;

/// Names that are asked for. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Names {
    threads: Threads,
    known: Arc<Mutex<HashMap<String, Known>>>,
    look: Look,
}

struct Known {
    asking: Shared<BoxFuture<'static, Answer>>,
    /// When the answer is forgotten; it is not there yet where there is none.
    until: Option<Instant>,
}

impl Default for Names {
    fn default() -> Self {
        Self::by(AT_ONCE, |name| Ok((name, 0).to_socket_addrs()?.map(|found| found.ip()).collect()))
    }
}

impl Names {
    fn by(at_once: usize, look: Look) -> Self {
        Self { threads: Threads::new(at_once), known: Arc::default(), look }
    }

    /// The addresses of a name, which may be one itself.
    pub(crate) async fn addresses(&self, name: &str) -> io::Result<Arc<[IpAddr]>> {
        if let Ok(address) = name.parse::<IpAddr>() {
            return Ok([address].into());
        }
        let asking = self.asking(name)?;
        asking.await.map_err(|why| io::Error::other(&*why))
    }

    fn asking(&self, name: &str) -> io::Result<Shared<BoxFuture<'static, Answer>>> {
        let now = Instant::now();
        let mut known = self.known.lock();
        known.retain(|_, one| one.until.is_none_or(|until| now < until));
        if let Some(one) = known.get(name) {
            return Ok(one.asking.clone());
        }
        if known.len() >= KNOWN {
            return Err(io::Error::other("too many names are asked for"));
        }
        let (names, name_of_it, look) = (self.clone(), name.to_owned(), self.look);
        // It goes on though whoever wanted to know has gone: the thread is taken anyway.
        let task = tokio::spawn(async move {
            let asked = name_of_it.clone();
            let found = names.threads.run(move || look(&asked)).await;
            let answer: Answer = match found {
                Ok(found) => Ok(found.into()),
                Err(error) => Err(error.to_string().into()),
            };
            let mut known = names.known.lock();
            match (&answer, known.get_mut(&name_of_it)) {
                (Err(_), Some(one)) => one.until = Some(Instant::now() + ABSENT_FOR),
                // Where it leads may change at any time.
                _ => drop(known.remove(&name_of_it)),
            }
            answer
        });
        let asking = task.map(|ended| ended.unwrap_or_else(|error| Err(error.to_string().into())));
        let asking = asking.boxed().shared();
        known.insert(name.to_owned(), Known { asking: asking.clone(), until: None });
        Ok(asking)
    }
}

/// Whether an address is the machine's own, or one of its neighbourhood: whoever names others that this server asks on
/// behalf of somebody else is not to lead it there.
pub fn is_near(address: IpAddr) -> bool {
    // One of IPv4 in the form of IPv6 is what it is in either.
    let address = address.to_canonical();
    let is_near = match address {
        IpAddr::V4(four) => {
            four.is_loopback() || four.is_link_local() || matches!(four.octets(), [224, 0, 0, _])
        }
        IpAddr::V6(six) => {
            let [first, second, ..] = six.octets();
            // Of a group of this interface or this link, too.
            let group = first == 0xff && matches!(second & 0x0f, 1 | 2);
            six.is_loopback() || six.is_unicast_link_local() || group
        }
    };
    is_near || address.is_unspecified()
}

/// Connects to a port of a name that a service of the cluster stands for.
pub(crate) async fn dial_for_service(state: &State, name: &str, port: u16) -> io::Result<Box<dyn Duplex>> {
    let found = state.names.addresses(name).await?;
    let mut failed = io::Error::other("the name leads to no address that is allowed");
    for address in found.iter().filter(|address| !is_near(**address)) {
        match state.nodes.dial(String::new(), SocketAddr::new(*address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Connects to a port of a host that the administrator named.
pub(crate) async fn dial(state: &State, host: &str, port: u16) -> io::Result<Box<dyn Duplex>> {
    let found = state.names.addresses(host).await?;
    let mut failed = io::Error::other("the name leads nowhere");
    for address in &*found {
        match state.outside.dial(&address.to_string(), port).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Condvar, Mutex as Blocking};

    use super::*;

    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static MAY_END: Blocking<bool> = Blocking::new(false);
    static ENDS: Condvar = Condvar::new();

    /// Of the name that hangs nobody knows anything until this is told.
    fn look(name: &str) -> io::Result<Vec<IpAddr>> {
        ASKED.fetch_add(1, Ordering::SeqCst);
        if name == "hangs" {
            let mut may_end = MAY_END.lock().expect("no panic");
            while !*may_end {
                may_end = ENDS.wait(may_end).expect("no panic");
            }
            return Err(io::Error::other("no such name"));
        }
        Ok(vec![IpAddr::from([192, 0, 2, 1])])
    }

    #[tokio::test]
    async fn a_name_that_hangs_holds_one_thread_however_many_want_to_know() {
        let names = Names::by(2, look);
        let all = || futures::future::join_all((0..100).map(|_| names.addresses("hangs")));
        let mut waiting = Box::pin(all());
        assert!(futures::poll!(&mut waiting).is_pending());
        // The other thread is free for other names, and an address needs none.
        assert_eq!(names.addresses("other").await.expect("addresses").len(), 1);
        assert_eq!(names.addresses("::1").await.expect("addresses").len(), 1);
        *MAY_END.lock().expect("no panic") = true;
        ENDS.notify_all();
        assert!(
            waiting.await.iter().all(|one| one.as_ref().is_err_and(|why| why.to_string() == "no such name"))
        );
        // That there is none is known; what there is, is asked again.
        assert!(all().await.iter().all(Result::is_err));
        assert_eq!(ASKED.load(Ordering::SeqCst), 2);
        assert!(names.addresses("other").await.is_ok());
        assert_eq!(ASKED.load(Ordering::SeqCst), 3);
    }

    #[test]
    fn nobody_is_led_to_what_is_near() {
        for near in
            ["127.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "::1", "::", "fe80::1", "ff02::1"]
        {
            assert!(is_near(near.parse().expect("an address")), "{near}");
        }
        for near in ["::ffff:127.0.0.1", "::ffff:169.254.169.254"] {
            assert!(is_near(near.parse().expect("an address")), "{near}");
        }
        for far in ["192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1"] {
            assert!(!is_near(far.parse().expect("an address")), "{far}");
        }
    }
}
