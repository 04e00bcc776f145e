//! Get and list.

use http::Method;

use super::{Api, List, ListOptions};
use crate::client::Call;
use crate::error::{Error, OptionalExt};
use crate::resource::Resource;

/// How many objects a list is asked for at once when all of them are wanted.
const PAGE: usize = 5000;

impl<K: Resource> Api<K> {
    /// One object.
    pub async fn get(&self, name: &str) -> Result<K, Error> {
        self.client.call(Call::new(Method::GET, self.path_of(name)?)).await
    }

    /// One object, if it is there.
    pub async fn find(&self, name: &str) -> Result<Option<K>, Error> {
        self.get(name).await.optional()
    }

    /// One page of objects, or all if no limit is given.
    pub async fn list(&self, options: &ListOptions) -> Result<List<K>, Error> {
        self.client.call(options.add_to(Call::new(Method::GET, self.path()?))).await
    }

    /// All objects, page by page, as of one revision.
    pub async fn list_all(&self, options: &ListOptions) -> Result<List<K>, Error> {
        let mut options = options.clone();
        options.limit.get_or_insert(PAGE);
        let mut all = self.list(&options).await?;
        while !all.metadata.continue_token.is_empty() {
            options.continue_token = Some(std::mem::take(&mut all.metadata.continue_token));
            options.resource_version = None;
            let page = self.list(&options).await?;
            all.items.extend(page.items);
            all.metadata = page.metadata;
        }
        all.metadata.remaining_item_count = None;
        Ok(all)
    }
}
