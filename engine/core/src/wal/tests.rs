#![allow(clippy::unwrap_used)]

mod disk;
mod format;
mod lives;
mod newer;
mod pieces;
mod rolling;
mod torn;
mod two_commits;
