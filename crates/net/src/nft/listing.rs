//! What `nft` wants to know of a set before it lists it in a form that it can read back.
//!
//! It keeps this with the set, where the kernel does not look: the byte order of keys, and for a key that
//! has no type with a name (a number that was drawn) the expressions that it is made of (`typeof`). Layout
//! and numbers are those of libnftnl and of nft's `udata` functions, which keep them for good: each entry
//! is a kind, a length and that many bytes, and may be made of entries.

use super::ruleset::{Content, Field, IpFamily, Set};

const KEY_ORDER: u8 = 0;
const DATA_ORDER: u8 = 1;
const KEY_TYPEOF: u8 = 3;
const DATA_TYPEOF: u8 = 4;
const ORDER_HOST: u32 = 1;
const ORDER_NETWORK: u32 = 2;

/// An expression: which, and what of it.
const EXPRESSION: u8 = 0;
const OF_EXPRESSION: u8 = 1;
const VERDICT: u32 = 1;
const PAYLOAD: u32 = 7;
const META: u32 = 9;
const CONCATENATION: u32 = 13;
const NUMGEN: u32 = 23;
/// Protocols of payload expressions, and fields of their headers.
const TRANSPORT: u32 = 11;
const TRANSPORT_DPORT: u32 = 2;
const IP: u32 = 12;
const IP_DADDR: u32 = 12;
const IP6: u32 = 13;
const IP6_DADDR: u32 = 9;
const META_L4PROTO: u32 = 16;
const NUMGEN_RANDOM: u32 = 1;

/// What is kept with `set`.
pub(super) fn userdata(set: &Set) -> Vec<u8> {
    let order = match set.key.as_slice() {
        [Field::InLink | Field::OutLink] => ORDER_HOST,
        _ => ORDER_NETWORK,
    };
    let mut bytes = [number(KEY_ORDER, order), number(DATA_ORDER, ORDER_NETWORK)].concat();
    let parts: Option<Vec<_>> = set.key.iter().map(|field| expression(*field)).collect();
    if let Some(parts) = parts.filter(|_| set.key.iter().any(|field| matches!(field, Field::Random(_)))) {
        bytes.extend(entry(KEY_TYPEOF, &concatenation(&parts)));
        let data = match set.content {
            Content::Targets(family) => {
                Some(concatenation(&[destination(family), payload(TRANSPORT, TRANSPORT_DPORT)]))
            }
            Content::Chains => Some(tagged(VERDICT, &[])),
            Content::Nothing | Content::Subnets | Content::Remembered => None,
        };
        bytes.extend(data.into_iter().flat_map(|data| entry(DATA_TYPEOF, &data)));
    }
    bytes
}

/// The expression that a field of a key is; those that need no telling have none.
fn expression(field: Field) -> Option<Vec<u8>> {
    match field {
        Field::Destination(family) => Some(destination(family)),
        Field::Port => Some(payload(TRANSPORT, TRANSPORT_DPORT)),
        Field::Protocol => Some(tagged(META, &number(0, META_L4PROTO))),
        Field::Random(modulus) => {
            let of = [number(0, NUMGEN_RANDOM), number(1, modulus), number(2, 0)].concat();
            Some(tagged(NUMGEN, &of))
        }
        _ => None,
    }
}

fn destination(family: IpFamily) -> Vec<u8> {
    match family {
        IpFamily::V4 => payload(IP, IP_DADDR),
        IpFamily::V6 => payload(IP6, IP6_DADDR),
    }
}

fn payload(protocol: u32, field: u32) -> Vec<u8> {
    tagged(PAYLOAD, &[number(0, protocol), number(1, field)].concat())
}

fn concatenation(parts: &[Vec<u8>]) -> Vec<u8> {
    let parts = (0..).zip(parts).flat_map(|(index, part)| entry(index, part)).collect::<Vec<_>>();
    tagged(CONCATENATION, &parts)
}

fn tagged(kind: u32, of: &[u8]) -> Vec<u8> {
    [number(EXPRESSION, kind), entry(OF_EXPRESSION, of)].concat()
}

fn number(kind: u8, value: u32) -> Vec<u8> {
    entry(kind, &value.to_ne_bytes())
}

fn entry(kind: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).expect("a key has at most four fields of less than 32 bytes");
    [&[kind, length], value].concat()
}
