//! What several fuzz targets need: decisions from bytes, checksums judged by other code than `wire`'s, and one worker with
//! all around it.
#![forbid(unsafe_code)]

pub mod frames;
pub mod rig;
pub mod script;
pub mod sums;
