//! Questions and answers on the wire.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};

use super::{Data, Kind};

/// How long an answer may be kept, in seconds: endpoints come and go.
const TTL: u32 = 5;
/// The largest UDP answer that we announce: it passes every path without fragments.
const PAYLOAD: u16 = 1232;

/// The longest message that there can be: a connection says before each how long it is, in two bytes.
pub(super) const LONGEST: usize = u16::MAX as usize;

/// A question, with what is needed to answer it.
pub(super) struct Question {
    request: Message,
    query: Query,
    /// The name, in lower case and without a dot at the end.
    pub(super) name: String,
    /// What is asked for.
    pub(super) kind: Kind,
}

/// How a question ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The name exists.
    Found,
    /// It does not.
    NoSuchName,
    /// Nobody could tell.
    Failed,
}

impl Question {
    /// Reads a question; `None` for what deserves no answer.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let request = Message::from_vec(bytes).ok()?;
        let asks =
            request.metadata.message_type == MessageType::Query && request.metadata.op_code == OpCode::Query;
        let [query] = request.queries.as_slice() else { return None };
        if !asks {
            return None;
        }
        let query = query.clone();
        let name = query.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let kind = match (query.query_class(), query.query_type()) {
            (DNSClass::IN, RecordType::A) => Kind::Ipv4,
            (DNSClass::IN, RecordType::AAAA) => Kind::Ipv6,
            (DNSClass::IN, RecordType::SRV) => Kind::Service,
            (DNSClass::IN, RecordType::PTR) => Kind::Pointer,
            (DNSClass::IN, RecordType::CNAME) => Kind::Alias,
            (DNSClass::IN, RecordType::TXT) => Kind::Text,
            (DNSClass::IN, RecordType::ANY) => Kind::Any,
            _ => Kind::Other,
        };
        Some(Self { request, query, name, kind })
    }

    /// The type asked for, for asking the same about another name.
    pub(super) fn question_for(&self, name: &str) -> Option<Vec<u8>> {
        let name = Name::from_ascii(format!("{name}.")).ok()?;
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(name, self.query.query_type()));
        message.to_vec().ok()
    }

    /// The answer: `data` under the name asked for, then `more` as others gave it; `domain` is told as
    /// the authority when there is nothing. What is longer than `limit` says no more than that; without one
    /// it has as many records as a message holds.
    pub(super) fn answer(
        &self,
        outcome: Outcome,
        data: &[Data],
        more: Vec<Record>,
        domain: Option<&str>,
        limit: Option<usize>,
    ) -> Option<Vec<u8>> {
        let mut response = Message::response(self.request.metadata.id, OpCode::Query);
        response.metadata.recursion_desired = self.request.metadata.recursion_desired;
        response.metadata.recursion_available = true;
        response.metadata.authoritative = domain.is_some();
        response.metadata.response_code = match outcome {
            Outcome::Found => ResponseCode::NoError,
            Outcome::NoSuchName => ResponseCode::NXDomain,
            Outcome::Failed => ResponseCode::ServFail,
        };
        response.add_query(self.query.clone());
        // A name that does not fit into DNS was never asked for; the record is left out.
        let records = data.iter().filter_map(|data| record(self.query.name(), data));
        response.add_answers(records);
        response.add_answers(more);
        if let (true, Some(domain), true) = (response.answers.is_empty(), domain, outcome != Outcome::Failed)
        {
            response.add_authorities(authority(domain));
        }
        if self.request.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD);
            response.set_edns(edns);
        }
        match (response.to_vec(), limit) {
            (Ok(bytes), limit) if bytes.len() <= limit.unwrap_or(LONGEST) => Some(bytes),
            (_, Some(_)) => response.truncate().to_vec().ok(),
            (_, None) if data.len() > 1 => {
                self.answer(outcome, &data[..data.len() / 2], Vec::new(), domain, None)
            }
            _ => None,
        }
    }

    /// The largest answer that whoever asked takes over UDP.
    pub(super) fn udp_limit(&self) -> usize {
        self.request.edns.as_ref().map_or(512, |edns| usize::from(edns.max_payload()))
    }
}

/// The answers in a message of another server.
pub(super) fn answers(bytes: &[u8]) -> Option<(Outcome, Vec<Record>)> {
    let message = Message::from_vec(bytes).ok()?;
    let outcome = match message.metadata.response_code {
        ResponseCode::NoError => Outcome::Found,
        ResponseCode::NXDomain => Outcome::NoSuchName,
        _ => Outcome::Failed,
    };
    Some((outcome, message.answers))
}

fn record(owner: &Name, data: &Data) -> Option<Record> {
    let name = |text: &str| Name::from_ascii(format!("{text}.")).ok();
    let data = match data {
        Data::Address(IpAddr::V4(address)) => RData::A(A(*address)),
        Data::Address(IpAddr::V6(address)) => RData::AAAA(AAAA(*address)),
        Data::Service { port, target } => RData::SRV(SRV::new(0, 100, *port, name(target)?)),
        Data::Alias(target) => RData::CNAME(CNAME(name(target)?)),
        Data::Pointer(target) => RData::PTR(PTR(name(target)?)),
        Data::Text(text) => RData::TXT(TXT::new(vec![text.clone()])),
    };
    Some(Record::from_rdata(owner.clone(), TTL, data))
}

/// Tells resolvers how long they may believe that there is nothing.
fn authority(domain: &str) -> Option<Record> {
    let name = |text: String| Name::from_ascii(text).ok();
    let soa = SOA::new(
        name(format!("ns.dns.{domain}."))?,
        name(format!("hostmaster.{domain}."))?,
        1,
        7200,
        1800,
        86400,
        TTL,
    );
    Some(Record::from_rdata(name(format!("{domain}."))?, TTL, RData::SOA(soa)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_as_many_records_as_a_message_holds() {
        let mut asked = Message::query();
        asked.add_query(Query::query(Name::from_ascii("_a._tcp.b.").expect("a name"), RecordType::SRV));
        let question = Question::parse(&asked.to_vec().expect("a message")).expect("a question");
        let target = |number: u32| format!("{number}{}", ".label".repeat(20));
        let data: Vec<Data> =
            (0..5000).map(|number| Data::Service { port: 80, target: target(number) }).collect();
        let answer = |data: &[Data], limit| {
            question.answer(Outcome::Found, data, Vec::new(), Some("b"), limit).expect("an answer")
        };
        let all = answer(&data, None);
        let told = answers(&all).expect("a message").1.len();
        assert!(all.len() > LONGEST / 4 && all.len() <= LONGEST && told > 100, "{told} in {}", all.len());
        for some in [&data[..], &data[..100]] {
            let short = answer(some, Some(512));
            let message = Message::from_vec(&short).expect("a message");
            assert!(message.metadata.truncation && message.answers.is_empty() && short.len() <= 512);
        }
    }
}
