//! The journal: every acknowledged change on disk before its reply. Two files of one format, a
//! compacted `snapshot` and the `journal` of what came after it, in a directory that one process
//! owns. `frame` is the framing, `record` the contents, `disk` the files, `log` what a failure
//! does to them, `thread` the group commit.

pub(crate) mod disk;
pub(crate) mod frame;
pub(crate) mod log;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod record;
pub(crate) mod thread;
