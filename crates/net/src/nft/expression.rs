//! The kernel's expressions for the parts of a rule.
//!
//! A rule is a list of small instructions over sixteen registers of four bytes; a key made of
//! several fields is loaded into registers that follow each other, each field on a whole number of them.

use std::net::IpAddr;

use super::attribute;
use super::attribute::data::{VALUE, VERDICT};
use super::ruleset::{Field, IpFamily, Statement, Target, Value};
use crate::netlink::Message;

const REGISTER_VERDICT: u32 = 0;
/// The first of the sixteen registers.
const FIRST: u32 = 8;

const NF_DROP: i32 = 0;
const NF_ACCEPT: i32 = 1;
const NFT_JUMP: i32 = -3;
const NFT_GOTO: i32 = -4;
const NFT_RETURN: i32 = -5;

const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_NFPROTO: u32 = 15;
const META_L4PROTO: u32 = 16;
const BASE_NETWORK: u32 = 1;
const BASE_TRANSPORT: u32 = 2;
const CT_STATE: u32 = 0;
const CT_STATUS: u32 = 2;
/// The bit of a packet's mark for those that may come in: none that Kubernetes, Calico, Cilium, Tailscale
/// or WireGuard's scripts use. Only packets from our own links are asked for it.
const WELCOME: u32 = 1 << 29;
const CT_STATE_ESTABLISHED_RELATED: u32 = 2 | 4;
const CT_STATUS_DST_NAT: u32 = 1 << 5;
const FIB_RESULT_OIF: u32 = 1;
const FIB_RESULT_ADDRTYPE: u32 = 3;
const FIB_SADDR: u32 = 1;
const FIB_DADDR: u32 = 2;
const FIB_IIF: u32 = 8;
const FIB_PRESENT: u32 = 32;
const RTN_LOCAL: u32 = 2;
const CMP_EQ: u32 = 0;
const CMP_NEQ: u32 = 1;
const LOOKUP_INVERTED: u32 = 1;
const REJECT_ICMP_UNREACH: u32 = 0;
const REJECT_TCP_RST: u32 = 1;
const ICMP_PORT_UNREACH: u8 = 3;

impl IpFamily {
    /// Bytes of an address.
    pub(super) fn width(self) -> usize {
        match self {
            Self::V4 => 4,
            Self::V6 => 16,
        }
    }

    /// The number by which `nft` knows the type of addresses.
    pub(super) fn data_type(self) -> u32 {
        match self {
            Self::V4 => 7,
            Self::V6 => 8,
        }
    }

    /// The kernel's number.
    fn number(self) -> i32 {
        match self {
            Self::V4 => libc::NFPROTO_IPV4,
            Self::V6 => libc::NFPROTO_IPV6,
        }
    }

    /// Where in the header the source is; the destination follows it.
    fn source_offset(self) -> usize {
        match self {
            Self::V4 => 12,
            Self::V6 => 8,
        }
    }

    /// How many registers an address takes.
    fn registers(self) -> u32 {
        registers(self.width())
    }
}

impl Field {
    /// Bytes of its value.
    pub(super) fn width(self) -> usize {
        match self {
            Self::InLink | Self::OutLink => libc::IFNAMSIZ,
            Self::Source(family) | Self::Destination(family) => family.width(),
            Self::Random(_) => 4,
            Self::Port => 2,
            Self::Protocol | Self::IcmpType => 1,
        }
    }

    /// The number by which `nft` knows the type, so that it can list our sets.
    pub(super) fn data_type(self) -> u32 {
        match self {
            Self::InLink | Self::OutLink => 41,
            Self::Source(family) | Self::Destination(family) => family.data_type(),
            Self::Random(_) => 4,
            Self::Port => 13,
            Self::Protocol => 12,
            Self::IcmpType => 14,
        }
    }
}

impl Value {
    /// The bytes that the kernel compares with.
    pub(super) fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Link(name) => {
                let mut bytes = name.as_bytes().to_vec();
                bytes.resize(libc::IFNAMSIZ, 0);
                bytes
            }
            Self::Address(address) => octets(*address),
            Self::Subnet(subnet) => octets(subnet.network()),
            Self::Protocol(protocol) => vec![protocol.number()],
            Self::Port(port) => port.to_be_bytes().to_vec(),
            Self::Byte(number) => vec![*number],
            Self::Number(number) => number.to_ne_bytes().to_vec(),
        }
    }
}

impl Target {
    /// The registers that the kernel reads it from.
    pub(super) fn bytes(self) -> Vec<u8> {
        let mut bytes = octets(self.address);
        bytes.extend_from_slice(&self.port.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes
    }
}

/// The bytes of an address.
pub(super) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Appends the verdict "go to `chain`".
pub(super) fn goto(message: &mut Message, chain: &str) {
    verdict(message, NFT_GOTO, Some(chain));
}

/// Appends the instructions for one part of a rule.
pub(super) fn write(message: &mut Message, statement: &Statement) {
    match statement {
        Statement::In { fields, set, negate } => {
            load(message, fields);
            lookup(message, set, None, *negate);
        }
        Statement::Is { field, value, negate } => {
            load(message, &[*field]);
            compare(message, &value.bytes(), *negate);
        }
        Statement::InSubnet { field, subnet, negate } => {
            load(message, &[*field]);
            mask(message, &octets(subnet.netmask()));
            compare(message, &octets(subnet.network()), *negate);
        }
        Statement::Family(family) => {
            meta(message, META_NFPROTO, FIRST);
            compare(message, &[family.number() as u8], false);
        }
        Statement::ToHost { negate } => {
            expression(message, "fib", |fib| {
                use attribute::fib::{DREG, FLAGS, RESULT};
                fib.be32(DREG, FIRST).be32(RESULT, FIB_RESULT_ADDRTYPE).be32(FLAGS, FIB_DADDR);
            });
            compare(message, &RTN_LOCAL.to_ne_bytes(), *negate);
        }
        Statement::FromElsewhere => {
            expression(message, "fib", |fib| {
                use attribute::fib::{DREG, FLAGS, RESULT};
                fib.be32(DREG, FIRST).be32(RESULT, FIB_RESULT_OIF);
                fib.be32(FLAGS, FIB_SADDR | FIB_IIF | FIB_PRESENT);
            });
            compare(message, &[0; 4], false);
        }
        Statement::Established => connection(message, CT_STATE, CT_STATE_ESTABLISHED_RELATED),
        Statement::Translated => connection(message, CT_STATUS, CT_STATUS_DST_NAT),
        Statement::MarkWelcome(on) => {
            meta(message, META_MARK, FIRST);
            combine(message, &(!WELCOME).to_ne_bytes(), &(if *on { WELCOME } else { 0 }).to_ne_bytes());
            expression(message, "meta", |meta| {
                use attribute::meta::{KEY, SREG};
                meta.be32(KEY, META_MARK).be32(SREG, FIRST);
            });
        }
        Statement::Welcome => {
            meta(message, META_MARK, FIRST);
            mask(message, &WELCOME.to_ne_bytes());
            compare(message, &WELCOME.to_ne_bytes(), false);
        }
        Statement::Dispatch { fields, map } => {
            load(message, fields);
            lookup(message, map, Some(REGISTER_VERDICT), false);
        }
        Statement::Translate { family, fields, map } => {
            load(message, fields);
            lookup(message, map, Some(FIRST), false);
            translate(message, *family);
        }
        Statement::Known { family, set } => {
            load(message, &[Field::Source(*family)]);
            lookup(message, set, None, false);
        }
        Statement::Remember { family, set, seconds } => {
            const UPDATE: u32 = 1;
            load(message, &[Field::Source(*family)]);
            expression(message, "dynset", |dynset| {
                use attribute::dynset::{OP, SET_NAME, SREG_KEY, TIMEOUT};
                let milliseconds = u64::from(*seconds) * 1000;
                dynset.text(SET_NAME, set).be32(OP, UPDATE).be32(SREG_KEY, FIRST);
                dynset.bytes(TIMEOUT, &milliseconds.to_be_bytes());
            });
        }
        Statement::TranslateTo(target) => {
            // One by one, since `nft` understands them so.
            let family = IpFamily::of(target.address);
            immediate(message, FIRST, &octets(target.address));
            immediate(message, FIRST + family.registers(), &target.port.to_be_bytes());
            translate(message, family);
        }
        Statement::Copy { to, link } => {
            let device = FIRST + IpFamily::of(*to).registers();
            immediate(message, FIRST, &octets(*to));
            immediate(message, device, &link.to_ne_bytes());
            expression(message, "dup", |dup| {
                use attribute::dup::{SREG_ADDR, SREG_DEV};
                dup.be32(SREG_ADDR, FIRST).be32(SREG_DEV, device);
            });
        }
        Statement::Masquerade => expression(message, "masq", |_| {}),
        Statement::Jump(chain) => decide(message, NFT_JUMP, Some(chain)),
        Statement::Return => decide(message, NFT_RETURN, None),
        Statement::Accept => decide(message, NF_ACCEPT, None),
        Statement::Drop => decide(message, NF_DROP, None),
        Statement::RejectTcp => expression(message, "reject", |reject| {
            reject.be32(attribute::reject::TYPE, REJECT_TCP_RST);
        }),
        Statement::RejectPort => expression(message, "reject", |reject| {
            use attribute::reject::{ICMP_CODE, TYPE};
            reject.be32(TYPE, REJECT_ICMP_UNREACH).bytes(ICMP_CODE, &[ICMP_PORT_UNREACH]);
        }),
    }
}

fn load(message: &mut Message, fields: &[Field]) {
    let mut register = FIRST;
    for field in fields {
        match field {
            Field::InLink => meta(message, META_IIFNAME, register),
            Field::OutLink => meta(message, META_OIFNAME, register),
            Field::Protocol => meta(message, META_L4PROTO, register),
            Field::Source(family) => {
                payload(message, BASE_NETWORK, family.source_offset(), family.width(), register);
            }
            Field::Destination(family) => {
                let offset = family.source_offset() + family.width();
                payload(message, BASE_NETWORK, offset, family.width(), register);
            }
            Field::Port => payload(message, BASE_TRANSPORT, 2, 2, register),
            Field::IcmpType => payload(message, BASE_TRANSPORT, 0, 1, register),
            Field::Random(modulus) => expression(message, "numgen", |numgen| {
                const RANDOM: u32 = 1;
                use attribute::numgen::{DREG, MODULUS, TYPE};
                numgen.be32(DREG, register).be32(MODULUS, *modulus).be32(TYPE, RANDOM);
            }),
        }
        register += registers(field.width());
    }
}

/// How many registers so many bytes take.
fn registers(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(4)).expect("a field is at most sixteen bytes")
}

fn expression(message: &mut Message, name: &str, write: impl FnOnce(&mut Message)) {
    message.nest(attribute::list::ELEM, |element| {
        element.text(attribute::expr::NAME, name).nest(attribute::expr::DATA, write);
    });
}

fn meta(message: &mut Message, key: u32, register: u32) {
    expression(message, "meta", |meta| {
        use attribute::meta::{DREG, KEY};
        meta.be32(DREG, register).be32(KEY, key);
    });
}

fn payload(message: &mut Message, base: u32, offset: usize, length: usize, register: u32) {
    expression(message, "payload", |payload| {
        use attribute::payload::{BASE, DREG, LEN, OFFSET};
        payload.be32(DREG, register).be32(BASE, base);
        payload.be32(OFFSET, offset as u32).be32(LEN, length as u32);
    });
}

fn lookup(message: &mut Message, set: &str, destination: Option<u32>, negate: bool) {
    expression(message, "lookup", |lookup| {
        use attribute::lookup::{DREG, FLAGS, SET, SREG};
        lookup.text(SET, set).be32(SREG, FIRST);
        if let Some(register) = destination {
            lookup.be32(DREG, register);
        }
        if negate {
            lookup.be32(FLAGS, LOOKUP_INVERTED);
        }
    });
}

fn compare(message: &mut Message, value: &[u8], negate: bool) {
    expression(message, "cmp", |cmp| {
        use attribute::cmp::{DATA, OP, SREG};
        cmp.be32(SREG, FIRST).be32(OP, if negate { CMP_NEQ } else { CMP_EQ }).nest(DATA, |data| {
            data.bytes(VALUE, value);
        });
    });
}

fn mask(message: &mut Message, mask: &[u8]) {
    combine(message, mask, &vec![0; mask.len()]);
}

/// Keeps the bits of `mask` and turns those of `flip`.
fn combine(message: &mut Message, mask: &[u8], flip: &[u8]) {
    expression(message, "bitwise", |bitwise| {
        use attribute::bitwise::{DREG, LEN, MASK, SREG, XOR};
        bitwise.be32(SREG, FIRST).be32(DREG, FIRST).be32(LEN, mask.len() as u32);
        bitwise.nest(MASK, |data| {
            data.bytes(VALUE, mask);
        });
        bitwise.nest(XOR, |data| {
            data.bytes(VALUE, flip);
        });
    });
}

fn immediate(message: &mut Message, register: u32, value: &[u8]) {
    expression(message, "immediate", |immediate| {
        use attribute::immediate::{DATA, DREG};
        immediate.be32(DREG, register).nest(DATA, |data| {
            data.bytes(VALUE, value);
        });
    });
}

fn connection(message: &mut Message, key: u32, bits: u32) {
    expression(message, "ct", |ct| {
        ct.be32(attribute::ct::DREG, FIRST).be32(attribute::ct::KEY, key);
    });
    mask(message, &bits.to_ne_bytes());
    compare(message, &[0; 4], true);
}

fn translate(message: &mut Message, family: IpFamily) {
    expression(message, "nat", |nat| {
        const DESTINATION: u32 = 1;
        use attribute::nat::{FAMILY, REG_ADDR_MIN, REG_PROTO_MIN, TYPE};
        nat.be32(TYPE, DESTINATION).be32(FAMILY, family.number() as u32);
        nat.be32(REG_ADDR_MIN, FIRST).be32(REG_PROTO_MIN, FIRST + family.registers());
    });
}

fn decide(message: &mut Message, code: i32, chain: Option<&str>) {
    expression(message, "immediate", |immediate| {
        use attribute::immediate::{DATA, DREG};
        immediate.be32(DREG, REGISTER_VERDICT).nest(DATA, |data| verdict(data, code, chain));
    });
}

fn verdict(message: &mut Message, code: i32, chain: Option<&str>) {
    message.nest(VERDICT, |verdict| {
        verdict.be32(attribute::verdict::CODE, code as u32);
        if let Some(chain) = chain {
            verdict.text(attribute::verdict::CHAIN, chain);
        }
    });
}
