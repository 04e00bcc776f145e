//! List and watch as texts of objects, which a server in this process shares instead of sending them.

use std::collections::VecDeque;

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use http::{Method, Response};
use model::Encoded;
use model::shared::{Objects, Telling, Told};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::watch::{Lines, parse};
use super::{Api, List, ListMeta, ListOptions, WatchEvent, WatchOptions};
use crate::client::{Call, in_time};
use crate::error::Error;
use crate::resource::Resource;
use crate::transport::Body;

/// The items of a list as they stand there.
#[derive(Deserialize)]
struct RawList<'a> {
    #[serde(default)]
    metadata: ListMeta,
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

/// Events that the server tells of what it holds.
struct Shared {
    objects: Telling,
    told: VecDeque<Told>,
    request: String,
    /// The server counts the watch as long as this is there.
    _body: Body,
}

impl<K: Resource> Api<K> {
    /// One page of objects; all of them if the server shares what it holds, which costs nothing.
    pub(crate) async fn list_encoded(&self, options: &ListOptions) -> Result<List<Encoded>, Error> {
        let mut call = options.add_to(Call::new(Method::GET, self.path()?));
        call.share = true;
        let request = call.name();
        let exchange = async {
            let mut response = self.client.call_stream(call).await?;
            let decode = |source| Error::Decode { request: request.clone(), source };
            let Some(mut objects) = shared(&mut response) else {
                let text = self.client.read(&request, response).await?;
                return read_list(&text).map_err(decode);
            };
            let (mut metadata, mut items) = (ListMeta::default(), Vec::new());
            while let Some(told) = objects.next().await {
                for told in told {
                    match told {
                        Told::Object { object, .. } => items.push(object),
                        Told::Text(text) => metadata = read_list(&text).map_err(decode)?.metadata,
                    }
                }
            }
            Ok(List { metadata, items })
        };
        in_time(&request, exchange).await
    }

    /// As [`Api::watch`].
    pub(crate) async fn watch_encoded(
        &self,
        options: &WatchOptions,
    ) -> Result<BoxStream<'static, Result<WatchEvent<Encoded>, Error>>, Error> {
        let mut call = options.add_to(Call::new(Method::GET, self.path()?));
        call.share = true;
        let request = call.name();
        let mut response = self.client.call_stream(call).await?;
        let objects = shared(&mut response);
        let body = response.into_body();
        Ok(match objects {
            Some(objects) => Shared { objects, told: VecDeque::new(), request, _body: body }.stream().boxed(),
            None => Lines::new(body, request, read_one).stream().boxed(),
        })
    }
}

impl Shared {
    fn stream(self) -> impl Stream<Item = Result<WatchEvent<Encoded>, Error>> + Send {
        stream::try_unfold(
            self,
            |mut shared| async move { Ok(shared.next().await?.map(|event| (event, shared))) },
        )
    }

    async fn next(&mut self) -> Result<Option<WatchEvent<Encoded>>, Error> {
        loop {
            match self.told.pop_front() {
                Some(Told::Object { event, object }) => {
                    return Ok(Some(match event {
                        "DELETED" => WatchEvent::Deleted(object),
                        "MODIFIED" => WatchEvent::Modified(object),
                        _ => WatchEvent::Added(object),
                    }));
                }
                Some(Told::Text(line)) => return parse(&line, &self.request, read_one).map(Some),
                None => {}
            }
            match self.objects.next().await {
                Some(told) => self.told = told.into(),
                None => return Ok(None),
            }
        }
    }
}

/// What a server in this process tells, if it does.
fn shared(response: &mut Response<Body>) -> Option<Telling> {
    response.extensions_mut().remove::<Objects>()?.take()
}

fn read_list(text: &[u8]) -> Result<List<Encoded>, serde_json::Error> {
    let list: RawList<'_> = serde_json::from_slice(text)?;
    let items = list.items.unwrap_or_default().into_iter().map(read_one).collect::<Result<_, _>>()?;
    Ok(List { metadata: list.metadata, items })
}

/// An object as a server sent it: a buffer of its own, since what it came in is soon gone.
fn read_one(object: &RawValue) -> Result<Encoded, serde_json::Error> {
    /// What says the revision.
    #[derive(Deserialize)]
    struct Partial {
        #[serde(default)]
        metadata: ListMeta,
    }
    let Partial { metadata } = serde_json::from_str(object.get())?;
    let revision = metadata.resource_version.parse().unwrap_or_default();
    Ok(Encoded::sent(Bytes::copy_from_slice(object.get().as_bytes()), revision))
}
