//! Digests, references, and the image, runtime and distribution documents: parse and print only.
#![forbid(unsafe_code)]
