//! A cluster without nodes: nothing runs, so nothing can be joined.

use apiserver::Error;
use apiserver::node::{Duplex, LogOptions, NodeTransport, PodTarget, StreamOptions, Streams};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

pub struct Nowhere;

impl NodeTransport for Nowhere {
    fn logs(
        &self,
        _: PodTarget,
        _: LogOptions,
    ) -> BoxFuture<'static, Result<BoxStream<'static, Bytes>, Error>> {
        async { Err(no_nodes()) }.boxed()
    }

    fn exec(&self, _: PodTarget, _: StreamOptions, _: Streams) -> BoxFuture<'static, Result<i32, Error>> {
        async { Err(no_nodes()) }.boxed()
    }

    fn attach(&self, _: PodTarget, _: StreamOptions, _: Streams) -> BoxFuture<'static, Result<i32, Error>> {
        async { Err(no_nodes()) }.boxed()
    }

    fn port_forward(
        &self,
        _: PodTarget,
        _: u16,
        _: Box<dyn Duplex>,
    ) -> BoxFuture<'static, Result<(), Error>> {
        async { Err(no_nodes()) }.boxed()
    }
}

fn no_nodes() -> Error {
    Error::bad_request("there are no nodes")
}
