//! Create, update, patch and delete.

use http::Method;
use serde::Serialize;

use super::{Api, DeleteOptions, ListOptions, Patch, PatchOptions, WriteOptions};
use crate::client::Call;
use crate::error::Error;
use crate::resource::Resource;

impl<K: Resource> Api<K> {
    /// Creates an object; gives it as the server keeps it.
    pub async fn create(&self, object: &K) -> Result<K, Error> {
        self.create_with(object, &WriteOptions::default()).await
    }

    /// As [`Api::create`], with options.
    pub async fn create_with(&self, object: &K, options: &WriteOptions) -> Result<K, Error> {
        let call = options.add_to(Call::new(Method::POST, self.home(object).path_of_one()?));
        self.client.call(with_json(call, object)?).await
    }

    /// Replaces an object. If it carries a resource version, somebody else's change in the
    /// meantime is a conflict.
    pub async fn update(&self, object: &K) -> Result<K, Error> {
        self.update_with(object, &WriteOptions::default()).await
    }

    /// As [`Api::update`], with options.
    pub async fn update_with(&self, object: &K, options: &WriteOptions) -> Result<K, Error> {
        let call = options.add_to(Call::new(Method::PUT, self.home(object).path_of(object.name())?));
        self.client.call(with_json(call, object)?).await
    }

    /// Changes parts of an object.
    pub async fn patch(&self, name: &str, patch: &Patch, options: &PatchOptions) -> Result<K, Error> {
        let call = Call::new(Method::PATCH, self.path_of(name)?);
        self.client.call(patch_call(call, patch, options)?).await
    }

    /// Deletes an object, or begins to if it has finalizers or a grace period.
    pub async fn delete(&self, name: &str, options: &DeleteOptions) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, self.path_of(name)?);
        self.client.call_bytes(with_json(call, &options.body())?).await.map(drop)
    }

    /// Deletes all objects that are selected.
    pub async fn delete_all(&self, which: &ListOptions, options: &DeleteOptions) -> Result<(), Error> {
        let call = which.add_to(Call::new(Method::DELETE, self.path()?));
        self.client.call_bytes(with_json(call, &options.body())?).await.map(drop)
    }
}

pub(super) fn patch_call(call: Call, patch: &Patch, options: &PatchOptions) -> Result<Call, Error> {
    let call = with_json(options.add_to(call), patch.value())?;
    Ok(Call { content_type: patch.content_type(), ..call })
}

pub(super) fn with_json(call: Call, body: &impl Serialize) -> Result<Call, Error> {
    match serde_json::to_vec(body) {
        Ok(body) => Ok(call.body("application/json", body)),
        Err(source) => Err(Error::Encode { request: call.name(), source }),
    }
}
