//! Starting processes in containers: the only place that clones.
