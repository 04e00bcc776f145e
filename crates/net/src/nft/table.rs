//! One instance's table in the kernel.

use std::io;

use super::diff::{create, difference};
use super::encode::{
    self, BATCH_BEGIN, BATCH_END, DELCHAIN, DELRULE, DELSET, DELSETELEM, DELTABLE, GETTABLE, NEWTABLE,
};
use super::ruleset::Ruleset;
use crate::netlink::{Attributes, Family, Message, Socket, attribute_text};

/// The multicast group that tells of changes to any table.
const GROUP_NFTABLES: u32 = 1 << (7 - 1);

/// The table, and what was last put into it.
pub(crate) struct Table {
    name: String,
    socket: Socket,
    applied: Ruleset,
}

/// Tells when somebody else takes something out of the table.
pub(crate) struct TableEvents {
    name: String,
    socket: Socket,
}

impl Table {
    /// Opens a socket for the table in the network namespace of this thread; changes nothing.
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            socket: Socket::open(Family::Netfilter, 0)?,
            applied: Ruleset::default(),
        })
    }

    /// Replaces whatever the table holds by `ruleset`, in one transaction: no packet sees it half.
    pub(crate) fn replace(&mut self, ruleset: Ruleset) -> io::Result<()> {
        // Made first, since removing what is not there would fail.
        let mut messages = vec![
            encode::table(NEWTABLE, &self.name),
            encode::table(DELTABLE, &self.name),
            encode::table(NEWTABLE, &self.name),
        ];
        encode::changes(&self.name, &create(&ruleset), &mut messages);
        self.commit(&messages)?;
        self.applied = ruleset;
        Ok(())
    }

    /// Makes the table hold `ruleset` by the smallest change from what was last put into it.
    pub(crate) fn apply(&mut self, ruleset: Ruleset) -> io::Result<()> {
        let changes = difference(&self.applied, &ruleset);
        tracing::debug!(table = self.name, steps = changes.len(), "ruleset changes");
        let mut messages = Vec::new();
        encode::changes(&self.name, &changes, &mut messages);
        match self.commit(&messages) {
            Ok(()) => self.applied = ruleset,
            // Somebody took a part of the table away: what was last put into it is not what it holds.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.replace(ruleset)?,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Puts everything that was last put into the table into it again.
    pub(crate) fn assert(&mut self) -> io::Result<()> {
        let ruleset = std::mem::take(&mut self.applied);
        let result = self.replace(ruleset.clone());
        self.applied = ruleset;
        result
    }

    /// Whether the table is there.
    pub(crate) fn exists(&mut self) -> io::Result<bool> {
        match self.socket.get(&encode::table(GETTABLE, &self.name)) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Removes the table with everything in it; nothing happens if there is none.
    pub(crate) fn remove(&mut self) -> io::Result<()> {
        self.applied = Ruleset::default();
        self.commit(&[encode::table(NEWTABLE, &self.name), encode::table(DELTABLE, &self.name)])
    }

    /// A listener for changes to this table that others make.
    pub(crate) fn events(&self) -> io::Result<TableEvents> {
        let socket = Socket::open(Family::Netfilter, GROUP_NFTABLES)?;
        socket.ignore_port(self.socket.port())?;
        Ok(TableEvents { name: self.name.clone(), socket })
    }

    fn commit(&mut self, messages: &[Message]) -> io::Result<()> {
        self.socket.transaction(&encode::mark(BATCH_BEGIN), messages, &encode::mark(BATCH_END))
    }
}

impl TableEvents {
    /// Reads what has happened; true if somebody else took something out of the table.
    pub(crate) fn read(&mut self) -> io::Result<bool> {
        let mut damaged = false;
        loop {
            let replies = match self.socket.notifications() {
                Ok(replies) if replies.is_empty() => return Ok(damaged),
                Ok(replies) => replies,
                // More happened than was kept for us: anything may have.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    damaged = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            damaged |= replies.iter().any(|reply| {
                let removes = [DELTABLE, DELCHAIN, DELRULE, DELSET, DELSETELEM].contains(&reply.kind);
                // In all of these messages the table's name is the first attribute.
                let table = Attributes::after(&reply.payload, 4).find(1).map(attribute_text);
                removes && table.as_deref() == Some(&self.name)
            });
        }
    }
}

impl std::os::fd::AsRawFd for TableEvents {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}
