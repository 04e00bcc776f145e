//! `GET /volumes/{name}`.

use crate::answer::{self, Answer};
use crate::call::Call;
use crate::convert::volume as convert;

/// One volume.
pub(crate) async fn inspect(call: Call) -> Answer {
    answer::json(&convert::volume(&*call.engine().volume_inspect(&call.name)?))
}
