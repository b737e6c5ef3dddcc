//! The tagged field behind the batch of a marker: what the log decided about the marker, which the
//! batch alone does not say. A relocation moves the field along with the marker. So the segment
//! that holds the marker of an aborted transaction holds the entry of the index for it, too.
//!
//! ```text
//! tag 1: the marker aborts a transaction
//!     0 8 first offset of the transaction
//!     8 8 last stable offset once the transaction had ended
//! tag 2, empty: the log does not remember the marker's producer
//! ```
//! Builds before this one wrote markers without a field.

use rustmq_model::Offset;
use rustmq_model::batch::BatchHeader;

use super::little_endian::{Reader, Writer};
use crate::log::{AbortedTransaction, MarkerTrace};
use crate::tagged_fields;

const ABORTED_TAG: u16 = 1;
const UNREMEMBERED_TAG: u16 = 2;
const ABORTED_LENGTH: usize = 2 * 8;
/// The most bytes that the field adds to a marker's payload.
pub const MARKER_FIELD_LENGTH_MAX: usize = tagged_fields::HEADER_LENGTH + ABORTED_LENGTH;

/// The field of a marker; no bytes where there is nothing to say.
#[must_use]
pub fn marker_field(trace: &MarkerTrace) -> Vec<u8> {
    let mut bytes = [0; MARKER_FIELD_LENGTH_MAX];
    let mut out = Writer::new(&mut bytes);
    let length = match trace {
        MarkerTrace::Plain => 0,
        MarkerTrace::Aborts(aborted) => {
            tagged_fields::put_header(&mut out, ABORTED_TAG, ABORTED_LENGTH);
            out.i64(aborted.first_offset.0);
            out.i64(aborted.last_stable.0);
            MARKER_FIELD_LENGTH_MAX
        }
        MarkerTrace::Unremembered => {
            tagged_fields::put_header(&mut out, UNREMEMBERED_TAG, 0);
            tagged_fields::HEADER_LENGTH
        }
    };
    bytes[..length].to_vec()
}

/// Reads the field in the payload of a batch that has this header. A field of the wrong length
/// counts as none.
#[must_use]
pub fn read_marker_field(header: &BatchHeader, payload: &[u8]) -> MarkerTrace {
    if !header.attributes.is_control() {
        return MarkerTrace::Plain;
    }
    let fields = payload.get(header.size..).unwrap_or_default();
    if tagged_fields::find(fields, UNREMEMBERED_TAG).is_some() {
        return MarkerTrace::Unremembered;
    }
    let aborted = tagged_fields::find(fields, ABORTED_TAG).and_then(|content| read_aborted(header, content));
    aborted.map_or(MarkerTrace::Plain, MarkerTrace::Aborts)
}

fn read_aborted(header: &BatchHeader, content: &[u8]) -> Option<AbortedTransaction> {
    let mut fields = Reader::new(content);
    let (first_offset, last_stable) = (Offset(fields.i64()?), Offset(fields.i64()?));
    let last_offset = header.last_offset();
    let is_sound = 0 <= first_offset.0 && first_offset <= last_offset && last_stable.0 >= 0;
    is_sound.then_some(AbortedTransaction { producer_id: header.producer_id, first_offset, last_offset, last_stable })
}
