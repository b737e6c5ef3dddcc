//! Stands in for `faults` where the feature `testing` is off: no value of the type exists, so the
//! compiler leaves its uses out.

use std::io;

#[derive(Debug)]
pub enum DiskFaults {}

impl DiskFaults {
    pub(crate) fn before_write(&self) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn before_sync(&self) -> io::Result<()> {
        match *self {}
    }

    pub(crate) async fn before_ring_sync(&self) -> io::Result<()> {
        match *self {}
    }
}
