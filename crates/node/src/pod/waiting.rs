//! Why a container that is to run does not: what is decided by, and what it is called.

use std::fmt;

/// Why a container waits. Prints as the reason that statuses have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What it needs around it is not there yet.
    ContainerCreating,
    /// The pod's directory, or what else its sandbox needs, could not be made.
    Sandbox,
    /// What its specification refers to cannot be had.
    Config,
    /// It could not be made.
    Create,
    /// Its program could not be started.
    Run,
    /// Its image could not be pulled just now.
    Pull,
    /// As [`Reason::Pull`], said a while ago.
    PullBackOff,
    /// Its image is not there, and is not to be pulled.
    NeverPull,
    /// Its image's name is none.
    ImageName,
}

impl Reason {
    /// The word that Kubernetes has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ContainerCreating => "ContainerCreating",
            Self::Sandbox => "CreatePodSandboxError",
            Self::Config => "CreateContainerConfigError",
            Self::Create => "CreateContainerError",
            Self::Run => "RunContainerError",
            Self::Pull => "ErrImagePull",
            Self::PullBackOff => "ImagePullBackOff",
            Self::NeverPull => "ErrImageNeverPull",
            Self::ImageName => "InvalidImageName",
        }
    }

    /// Whether it waits for its image: it is tried again as images are.
    pub fn is_of_image(self) -> bool {
        matches!(self, Self::Pull | Self::PullBackOff | Self::NeverPull | Self::ImageName)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
