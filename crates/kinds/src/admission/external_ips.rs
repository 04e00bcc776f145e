//! No service takes addresses that are none of the cluster's.

use apiserver::{Admission, Admitting, Write, at_once};
use model::Object;

/// Refuses external addresses that a service does not have already.
pub(super) struct DenyServiceExternalIPs;

const ADDRESSES: [&str; 2] = ["spec", "externalIPs"];

impl Admission for DenyServiceExternalIPs {
    fn validate<'a>(&'a self, write: &'a Write<'a>, object: Option<&'a Object>) -> Admitting<'a> {
        let service = object.filter(|_| write.is_of("", "services"));
        at_once(match service.filter(|service| takes_more(service, write.old)) {
            None => Ok(()),
            Some(service) => {
                let why = "Use of external IPs is denied by admission control";
                Err(write.context.forbidden(service, why))
            }
        })
    }

    fn keeps_form(&self) -> bool {
        true
    }
}

fn takes_more(service: &Object, old: Option<&Object>) -> bool {
    let known = old.map(|old| old.get_list(&ADDRESSES)).unwrap_or_default();
    service.get_list(&ADDRESSES).iter().any(|address| !known.contains(address))
}
