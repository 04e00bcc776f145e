//! The messages of a transaction.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::attribute::data::VALUE;
use super::attribute::{self, chain, element, rule, set};
use super::diff::{Change, Element};
use super::expression;
use super::listing;
use super::ruleset::{Content, Field, Hook, HookType, IpFamily, Leads, Point, Rule, Set, Statement, Value};
use crate::netlink::Message;

/// Types of messages begin with the number of the subsystem.
const MESSAGE_BASE: u16 = 10 << 8;
/// Begins a transaction.
pub(super) const BATCH_BEGIN: u16 = 16;
/// Ends a transaction.
pub(super) const BATCH_END: u16 = 17;

pub(super) const NEWTABLE: u16 = MESSAGE_BASE;
pub(super) const GETTABLE: u16 = MESSAGE_BASE | 1;
pub(super) const DELTABLE: u16 = MESSAGE_BASE | 2;
pub(super) const NEWCHAIN: u16 = MESSAGE_BASE | 3;
pub(super) const GETCHAIN: u16 = MESSAGE_BASE | 4;
pub(super) const DELCHAIN: u16 = MESSAGE_BASE | 5;
pub(super) const NEWRULE: u16 = MESSAGE_BASE | 6;
pub(super) const GETRULE: u16 = MESSAGE_BASE | 7;
pub(super) const DELRULE: u16 = MESSAGE_BASE | 8;
pub(super) const NEWSET: u16 = MESSAGE_BASE | 9;
const GETSET: u16 = MESSAGE_BASE | 10;
pub(super) const DELSET: u16 = MESSAGE_BASE | 11;
const NEWSETELEM: u16 = MESSAGE_BASE | 12;
pub(super) const DELSETELEM: u16 = MESSAGE_BASE | 14;

pub(super) const NLM_F_CREATE: u16 = 0x400;
pub(super) const NLM_F_APPEND: u16 = 0x800;

const SET_MAP: u32 = 8;
const SET_TIMEOUT: u32 = 16;
const SET_DYNAMIC: u32 = 32;
/// What a set is that remembers.
pub(super) const SET_REMEMBERS: u32 = SET_TIMEOUT | SET_DYNAMIC;
/// So many are remembered in one set at most.
pub(super) const REMEMBERED: u32 = 65_535;
const SET_INTERVAL: u32 = 4;
const ELEM_INTERVAL_END: u32 = 1;
pub(super) const DATA_TYPE_VERDICT: u32 = 0xffff_ff00;
/// A port, which follows an address, as `nft` joins the numbers of types.
const DATA_TYPE_PORT: u32 = 13;
/// Elements in one message: each is below 120 bytes, and an attribute ends at 64 KiB.
const ELEMENTS_PER_MESSAGE: usize = 256;

/// A table, named and of a family.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableName<'a> {
    /// The kernel's number of the family.
    pub(super) family: i32,
    pub(super) name: &'a str,
}

impl TableName<'_> {
    fn message(self, kind: u16, flags: u16) -> Message {
        Message::new(kind, flags, &[self.family as u8, 0, 0, 0])
    }
}

/// A mark around a transaction.
pub(super) fn mark(kind: u16) -> Message {
    // The subsystem's number, in network byte order.
    Message::new(kind, 0, &[0, 0, 0, 10])
}

/// Makes the table, or removes it.
pub(super) fn table(kind: u16, table: TableName<'_>) -> Message {
    let mut message = table.message(kind, if kind == NEWTABLE { NLM_F_CREATE } else { 0 });
    message.text(attribute::table::NAME, table.name);
    if kind == NEWTABLE {
        // One that is there does not sleep (`dormant`) any more.
        message.be32(attribute::table::FLAGS, 0);
    }
    message
}

/// Asks for a chain.
pub(super) fn chain(table: TableName<'_>, name: &str) -> Message {
    let mut message = table.message(GETCHAIN, 0);
    message.text(chain::TABLE, table.name).text(chain::NAME, name);
    message
}

/// Asks for all chains of the table's family.
pub(super) fn chains(table: TableName<'_>) -> Message {
    table.message(GETCHAIN, 0)
}

/// Asks for all sets of the table.
pub(super) fn sets(table: TableName<'_>) -> Message {
    let mut message = table.message(GETSET, 0);
    message.text(set::TABLE, table.name);
    message
}

/// Takes the rules out of all chains of the table.
pub(super) fn flush(table: TableName<'_>) -> Message {
    let mut message = table.message(DELRULE, 0);
    message.text(rule::TABLE, table.name);
    message
}

/// Takes all elements out of a set.
pub(super) fn set_flush(table: TableName<'_>, name: &str) -> Message {
    let mut message = table.message(DELSETELEM, 0);
    message.text(attribute::elements::TABLE, table.name).text(attribute::elements::SET, name);
    message
}

/// Appends the messages for `changes` to `table`.
pub(super) fn changes(table: TableName<'_>, changes: &[Change<'_>], messages: &mut Vec<Message>) {
    for change in changes {
        match change {
            Change::ChainAdd(name, chain) => {
                let mut message = table.message(NEWCHAIN, NLM_F_CREATE);
                message.text(chain::TABLE, table.name).text(chain::NAME, name);
                if let Some(hook) = chain.hook {
                    write_hook(&mut message, hook);
                }
                messages.push(message);
            }
            Change::ChainFlush(name) => {
                let mut message = table.message(DELRULE, 0);
                message.text(rule::TABLE, table.name).text(rule::CHAIN, name);
                messages.push(message);
            }
            Change::ChainRemove(name) => {
                let mut message = table.message(DELCHAIN, 0);
                message.text(chain::TABLE, table.name).text(chain::NAME, name);
                messages.push(message);
            }
            Change::RuleAdd(chain, rule) => messages.push(rule_add(table, chain, rule)),
            Change::SetAdd(name, set) => {
                // One number for each of a transaction.
                let id =
                    u32::try_from(messages.len() + 1).expect("a transaction has far fewer than 2^32 steps");
                messages.push(set_add(table, name, set, id));
            }
            Change::SetRemove(name) => {
                let mut message = table.message(DELSET, 0);
                message.text(set::TABLE, table.name).text(set::NAME, name);
                messages.push(message);
            }
            Change::ElementsAdd(set, elements) => {
                write_elements(table.message(NEWSETELEM, NLM_F_CREATE), table, set, elements, messages);
            }
            Change::ElementsRemove(set, elements) => {
                write_elements(table.message(DELSETELEM, 0), table, set, elements, messages);
            }
        }
    }
}

fn write_hook(message: &mut Message, hook: Hook) {
    let point = match hook.point {
        Point::Prerouting => 0,
        Point::Input => 1,
        Point::Forward => 2,
        Point::Output => 3,
        Point::Postrouting => 4,
    };
    message.nest(chain::HOOK, |nest| {
        use attribute::hook::{HOOKNUM, PRIORITY};
        nest.be32(HOOKNUM, point).be32(PRIORITY, hook.priority as u32);
    });
    message.text(
        chain::TYPE,
        match hook.kind {
            HookType::Filter => "filter",
            HookType::Nat => "nat",
        },
    );
}

fn rule_add(table: TableName<'_>, chain: &str, rule: &Rule) -> Message {
    let mut message = table.message(NEWRULE, NLM_F_CREATE | NLM_F_APPEND);
    message.text(rule::TABLE, table.name).text(rule::CHAIN, chain).nest(rule::EXPRESSIONS, |list| {
        // In a table of one family it says nothing, and `nft` does not understand why it is there.
        let is_sure = |statement: &&Statement| {
            **statement == Statement::Family(IpFamily::V4) && table.family == libc::NFPROTO_IPV4
        };
        for statement in rule.iter().filter(|statement| !is_sure(statement)) {
            expression::write(list, statement);
        }
    });
    message
}

fn set_add(table: TableName<'_>, name: &str, set: &Set, id: u32) -> Message {
    let mut message = table.message(NEWSET, NLM_F_CREATE);
    let flags = match set.content {
        Content::Nothing => 0,
        Content::Subnets => SET_INTERVAL,
        Content::Remembered => SET_REMEMBERS,
        Content::Chains | Content::Targets(_) => SET_MAP,
    };
    message
        .text(set::TABLE, table.name)
        .text(set::NAME, name)
        .be32(set::FLAGS, flags)
        .be32(set::KEY_TYPE, key_type(&set.key))
        .be32(set::KEY_LEN, key_length(&set.key));
    match set.content {
        Content::Nothing | Content::Subnets => {}
        Content::Remembered => {
            message.nest(set::DESC, |desc| {
                desc.be32(attribute::desc::SIZE, REMEMBERED);
            });
        }
        Content::Chains => {
            message.be32(set::DATA_TYPE, DATA_TYPE_VERDICT).be32(set::DATA_LEN, 16);
        }
        Content::Targets(family) => {
            let length = family.width() + 4;
            message.be32(set::DATA_TYPE, family.data_type() << 6 | DATA_TYPE_PORT);
            message.be32(set::DATA_LEN, u32::try_from(length).expect("an address has at most 16 bytes"));
        }
    }
    message.be32(set::ID, id).bytes(set::USERDATA, &listing::userdata(set));
    message
}

/// The type of a key, as `nft` joins those of its fields.
pub(super) fn key_type(key: &[Field]) -> u32 {
    key.iter().fold(0, |joined, field| joined << 6 | field.data_type())
}

/// Bytes of a key.
pub(super) fn key_length(key: &[Field]) -> u32 {
    let length: usize = match key {
        // A key of one field is as long as the field; in a longer one each takes whole registers.
        [field] => field.width(),
        fields => fields.iter().map(|field| field.width().next_multiple_of(4)).sum(),
    };
    u32::try_from(length).expect("a key has at most 64 bytes")
}

fn write_elements(
    empty: Message,
    table: TableName<'_>,
    set: &str,
    elements: &[Element<'_>],
    messages: &mut Vec<Message>,
) {
    for chunk in elements.chunks(ELEMENTS_PER_MESSAGE) {
        let mut message = empty.clone();
        use attribute::elements::{ELEMENTS, SET, TABLE};
        message.text(TABLE, table.name).text(SET, set).nest(ELEMENTS, |list| {
            for (key, leads) in chunk {
                write_element(list, key, leads);
            }
        });
        messages.push(message);
    }
}

fn write_element(list: &mut Message, key: &[Value], leads: &Leads) {
    if let [Value::Subnet(subnet)] = key {
        write_interval(list, subnet.network(), false);
        // The interval ends before the first address after it; the last of all has no end.
        if let Some(end) = after(subnet.broadcast()) {
            write_interval(list, end, true);
        }
        return;
    }
    let bytes = match key {
        [value] => value.bytes(),
        values => values.iter().fold(Vec::with_capacity(32), |mut bytes, value| {
            bytes.extend_from_slice(&value.bytes());
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        }),
    };
    list.nest(attribute::list::ELEM, |message| {
        message.nest(element::KEY, |data| {
            data.bytes(VALUE, &bytes);
        });
        match leads {
            Leads::Nowhere => {}
            Leads::Chain(chain) => {
                message.nest(element::DATA, |data| expression::goto(data, chain));
            }
            Leads::Target(target) => {
                message.nest(element::DATA, |data| {
                    data.bytes(VALUE, &target.bytes());
                });
            }
        }
    });
}

/// The address after this one.
fn after(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(address) => u32::from(address).checked_add(1).map(|next| Ipv4Addr::from(next).into()),
        IpAddr::V6(address) => u128::from(address).checked_add(1).map(|next| Ipv6Addr::from(next).into()),
    }
}

fn write_interval(list: &mut Message, address: IpAddr, end: bool) {
    list.nest(attribute::list::ELEM, |message| {
        message.nest(element::KEY, |data| {
            data.bytes(VALUE, &expression::octets(address));
        });
        if end {
            message.be32(element::FLAGS, ELEM_INTERVAL_END);
        }
    });
}
