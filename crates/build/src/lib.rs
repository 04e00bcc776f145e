//! Dockerfile to steps to cached layers to image.
#![forbid(unsafe_code)]
