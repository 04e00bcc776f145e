//! What the loop does after each round: whatever it is time for, and registering what each
//! connection and process can go on with.

use rustix::event::Timespec;
use rustix::event::epoll::{self, EventFlags};

use super::container::Container;
use super::launching::Launching;
use super::peer::{Mode, OUTPUT_LIMIT};
use super::server::{Server, Wake, milliseconds};
use super::stopping::Stopping;

impl Server {
    /// Registers what each connection and process can go on with, and ends what is over.
    pub(super) fn settle(&mut self) {
        let now = milliseconds();
        let late: Vec<u32> = self
            .processes
            .iter()
            .filter(|(_, held)| {
                held.ended.is_some()
                    && held.exit.is_none()
                    && (held.is_drained() || held.deadline.is_some_and(|deadline| deadline <= now))
            })
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            self.finish(number);
        }
        self.give_up_late_launches(now);
        self.look_at_changes(now);
        self.look_at_endings(now);
        self.look_at_stops(now);
        while self.settle_peers() {}
        for (number, held) in &mut self.processes {
            let slow = held
                .attached
                .iter()
                .any(|id| self.peers.get(id).is_some_and(|peer| peer.waiting() > OUTPUT_LIMIT));
            for output in held.outputs.iter_mut().flatten() {
                if output.watched == slow {
                    let wake = Wake::Output(*number, output.stream).pack();
                    // Taken out and not only masked: epoll would go on telling about the other end's close.
                    let changed = if slow {
                        epoll::delete(&self.epoll, &output.fd)
                    } else {
                        epoll::add(&self.epoll, &output.fd, wake, EventFlags::IN)
                    };
                    output.watched = if changed.is_ok() { !slow } else { output.watched };
                }
            }
            if let Some(input) = &mut held.input
                && input.watched != input.has_waiting()
            {
                let changed = if input.watched {
                    epoll::delete(&self.epoll, &input.fd)
                } else {
                    epoll::add(&self.epoll, &input.fd, Wake::Input(*number).pack(), EventFlags::OUT)
                };
                input.watched = if changed.is_ok() { !input.watched } else { input.watched };
            }
        }
    }

    /// Sends and takes what can be; `true` if that began something that has to be settled too.
    fn settle_peers(&mut self) -> bool {
        let mut gone = Vec::new();
        let mut released = Vec::new();
        for (id, peer) in &mut self.peers {
            if peer.flush().is_err() || peer.closing && peer.waiting() == 0 {
                gone.push(*id);
                continue;
            }
            if peer.held {
                let Mode::Stream { process, .. } = peer.mode else { continue };
                let input = self.processes.get(&process).and_then(|held| held.input.as_ref());
                if input.is_none_or(|input| !input.is_full()) {
                    peer.held = false;
                    released.push(*id);
                }
            }
            if !peer.busy && peer.mode == Mode::Control && peer.decoder.waiting() > 0 {
                released.push(*id);
            }
            let wanted = peer.wanted();
            if wanted != peer.interest {
                let mut flags = EventFlags::empty();
                flags.set(EventFlags::IN, wanted.0);
                flags.set(EventFlags::OUT, wanted.1);
                let data = Wake::Peer(*id).pack();
                let changed = match (peer.interest, wanted) {
                    (_, (false, false)) => epoll::delete(&self.epoll, &peer.socket),
                    ((false, false), _) => epoll::add(&self.epoll, &peer.socket, data, flags),
                    _ => epoll::modify(&self.epoll, &peer.socket, data, flags),
                };
                if changed.is_ok() {
                    peer.interest = wanted;
                }
            }
        }
        for id in gone {
            self.drop_peer(id);
        }
        let mut went_on = false;
        for id in released {
            let waiting = |server: &Self| server.peers.get(&id).map_or(0, |peer| peer.decoder.waiting());
            let before = waiting(self);
            if !self.take_frames(id) {
                self.drop_peer(id);
            }
            went_on |= waiting(self) != before;
        }
        went_on
    }

    /// How long to sleep at most.
    pub(super) fn timeout(&self) -> Option<Timespec> {
        let drains = self.processes.values().filter_map(|held| held.deadline);
        let launches = self.launches.values().filter_map(Launching::next_deadline);
        let containers = self.containers.values().filter_map(Container::next_deadline);
        let stop = self.stopping.as_ref().and_then(Stopping::next_deadline);
        let deadline = drains.chain(launches).chain(containers).chain(stop).min()?;
        let left = deadline.saturating_sub(milliseconds());
        Some(Timespec { tv_sec: (left / 1000) as i64, tv_nsec: (left % 1000 * 1_000_000) as i64 })
    }
}
