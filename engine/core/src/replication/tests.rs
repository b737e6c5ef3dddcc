#![allow(clippy::unwrap_used)]

mod acknowledgements;
mod changes;
mod handshakes;
mod hostile;
mod mutations;
mod peers;
