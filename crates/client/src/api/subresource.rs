//! Status, scale, binding and other parts of an object that have an address of their own.

use http::Method;
use k8s_openapi::api::autoscaling::v1;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::write::{patch_call, with_json};
use super::{Api, Patch, PatchOptions, WriteOptions};
use crate::client::Call;
use crate::error::Error;
use crate::resource::Resource;

/// How many there should be and how many there are.
pub type Scale = v1::Scale;

impl<K: Resource> Api<K> {
    /// Replaces an object's status and nothing else of it.
    pub async fn update_status(&self, object: &K) -> Result<K, Error> {
        let path = format!("{}/status", self.home(object).path_of(object.name())?);
        self.client.call(with_json(Call::new(Method::PUT, path), object)?).await
    }

    /// Changes parts of an object's status and nothing else of it.
    pub async fn patch_status(&self, name: &str, patch: &Patch, options: &PatchOptions) -> Result<K, Error> {
        let path = format!("{}/status", self.path_of(name)?);
        self.client.call(patch_call(Call::new(Method::PATCH, path), patch, options)?).await
    }

    /// How many there should be and how many there are.
    pub async fn get_scale(&self, name: &str) -> Result<Scale, Error> {
        self.client.call(Call::new(Method::GET, format!("{}/scale", self.path_of(name)?))).await
    }

    /// Says how many there should be.
    pub async fn update_scale(&self, name: &str, scale: &Scale) -> Result<Scale, Error> {
        let path = format!("{}/scale", self.path_of(name)?);
        self.client.call(with_json(Call::new(Method::PUT, path), scale)?).await
    }

    /// Changes how many there should be.
    pub async fn patch_scale(
        &self,
        name: &str,
        patch: &Patch,
        options: &PatchOptions,
    ) -> Result<Scale, Error> {
        let path = format!("{}/scale", self.path_of(name)?);
        self.client.call(patch_call(Call::new(Method::PATCH, path), patch, options)?).await
    }

    /// Posts to any other part of an object: `binding`, `eviction`, `token`.
    pub async fn create_subresource<T: DeserializeOwned>(
        &self,
        name: &str,
        subresource: &str,
        body: &impl Serialize,
        options: &WriteOptions,
    ) -> Result<T, Error> {
        let path = format!("{}/{subresource}", self.path_of(name)?);
        self.client.call(with_json(options.add_to(Call::new(Method::POST, path)), body)?).await
    }

    /// Replaces any other part of an object: `finalize`.
    pub async fn update_subresource<T: DeserializeOwned>(
        &self,
        name: &str,
        subresource: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let path = format!("{}/{subresource}", self.path_of(name)?);
        self.client.call(with_json(Call::new(Method::PUT, path), body)?).await
    }
}
