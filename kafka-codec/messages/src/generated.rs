//! The messages, as the build script has written them, and what their code calls.

#![allow(
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    unused_mut,
    unused_variables,
    rustdoc::all,
    reason = "nobody edits it"
)]

use bytes::Bytes;
use uuid::Uuid;

use crate::error::{DecodeError, EncodeError, null_if};
use crate::reader::{Decode, Reader, Sealed};
use crate::writer::{Encode, Writer, differs};

include!(concat!(env!("OUT_DIR"), "/messages.rs"));
