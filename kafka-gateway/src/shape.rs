//! A walk over a request's bytes before it is decoded: every length, count and tag lies within the
//! frame, and the elements of its arrays stay below a limit.
//!
//! The decoder reserves memory for as many elements as an array claims to have, so that five
//! foreign bytes could ask for terabytes. After this walk a claim is known to be true. It does not
//! look at values: text encoding, nulls and meaning are the decoder's business.

mod table;

pub use table::SHAPES;

/// One request: the key of its API, the first version with compact lengths and tagged fields
/// (KIP-482), and its fields in wire order.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub key: i16,
    pub flexible_from: i16,
    pub fields: &'static [Field],
}

/// A field: name, first version, last version, kind.
#[derive(Clone, Copy, Debug)]
pub struct Field(pub &'static str, pub i16, pub i16, pub Kind);

/// A tagged field of fixed size: tag, first version, bytes. The decoder takes its size from the
/// schema, not from the frame, so that a frame which says otherwise would be read at two different
/// places.
#[derive(Clone, Copy, Debug)]
pub struct Tag(pub u32, pub i16, pub usize);

/// What a field's bytes look like.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A string, null included.
    Text,
    /// Bytes, null included; records are such.
    Blob,
    /// An array of structures.
    List(&'static [Field]),
    /// An array of structures with tagged fields that the schema knows.
    TaggedList(&'static [Field], &'static [Tag]),
    /// An array of values of so many bytes.
    FixedList(usize),
    /// An array of strings.
    TextList,
    /// A structure that may be absent.
    Optional(&'static [Field]),
}

/// Why a request's bytes cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    #[error("the frame ends within field '{field}'")]
    Truncated { field: &'static str },
    #[error("field '{field}' has the negative length {length}")]
    NegativeLength { field: &'static str, length: i64 },
    #[error("the request holds more than {elements_max} array elements")]
    TooManyElements { elements_max: usize },
    #[error("tagged field {tag} has {size} bytes where its schema says {expected}")]
    TagSize { tag: u32, size: usize, expected: usize },
    #[error("no request of this gateway has API key {key}")]
    UnknownKey { key: i16 },
}

/// Walks the body of a request (what follows its header), and says how many bytes the message
/// takes.
pub fn check(key: i16, version: i16, body: &[u8], elements_max: usize) -> Result<usize, ShapeError> {
    let shape = SHAPES.iter().find(|shape| shape.key == key).ok_or(ShapeError::UnknownKey { key })?;
    let mut walk = Walk {
        rest: body,
        version,
        flexible: version >= shape.flexible_from,
        elements_left: elements_max,
        elements_max,
    };
    walk.structure(shape.fields, &[])?;
    Ok(body.len() - walk.rest.len())
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    elements_left: usize,
    elements_max: usize,
}

impl Walk<'_> {
    fn structure(&mut self, fields: &'static [Field], tags: &'static [Tag]) -> Result<(), ShapeError> {
        for &Field(name, since, until, kind) in fields {
            if (since..=until).contains(&self.version) {
                self.field(name, kind)?;
            }
        }
        if self.flexible { self.tagged_fields(tags) } else { Ok(()) }
    }

    fn field(&mut self, name: &'static str, kind: Kind) -> Result<(), ShapeError> {
        match kind {
            Kind::Fixed(size) => self.skip(name, size),
            Kind::Text => {
                let length = if self.flexible { self.compact_length(name)? } else { self.short_length(name)? };
                self.skip(name, length)
            }
            Kind::Blob => {
                let length = self.length(name)?;
                self.skip(name, length)
            }
            Kind::List(fields) => self.list(name, |walk| walk.structure(fields, &[])),
            Kind::TaggedList(fields, tags) => self.list(name, |walk| walk.structure(fields, tags)),
            Kind::FixedList(size) => self.list(name, |walk| walk.skip(name, size)),
            Kind::TextList => self.list(name, |walk| walk.field(name, Kind::Text)),
            Kind::Optional(fields) => {
                // One byte: 1 for "present".
                let present = self.take::<1>(name)? == [1];
                if present { self.structure(fields, &[]) } else { Ok(()) }
            }
        }
    }

    fn list(
        &mut self,
        name: &'static str,
        mut element: impl FnMut(&mut Self) -> Result<(), ShapeError>,
    ) -> Result<(), ShapeError> {
        for _ in 0..self.length(name)? {
            self.count_element()?;
            element(self)?;
        }
        Ok(())
    }

    fn count_element(&mut self) -> Result<(), ShapeError> {
        let too_many = ShapeError::TooManyElements { elements_max: self.elements_max };
        self.elements_left = self.elements_left.checked_sub(1).ok_or(too_many)?;
        Ok(())
    }

    fn tagged_fields(&mut self, known: &'static [Tag]) -> Result<(), ShapeError> {
        const FIELD: &str = "tagged fields";
        for _ in 0..self.varint(FIELD)? {
            self.count_element()?;
            let tag = self.varint(FIELD)?;
            let size = usize::try_from(self.varint(FIELD)?).unwrap_or(usize::MAX);
            let schema = known.iter().find(|Tag(number, since, _)| *number == tag && self.version >= *since);
            if let Some(&Tag(_, _, expected)) = schema
                && size != expected
            {
                return Err(ShapeError::TagSize { tag, size, expected });
            }
            self.skip(FIELD, size)?;
        }
        Ok(())
    }

    fn skip(&mut self, field: &'static str, size: usize) -> Result<(), ShapeError> {
        self.rest = self.rest.get(size..).ok_or(ShapeError::Truncated { field })?;
        Ok(())
    }

    fn take<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ShapeError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(ShapeError::Truncated { field })?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// The length of bytes or of an array; null counts as empty.
    fn length(&mut self, field: &'static str) -> Result<usize, ShapeError> {
        if self.flexible {
            return self.compact_length(field);
        }
        non_negative(field, i64::from(i32::from_be_bytes(self.take(field)?)))
    }

    fn short_length(&mut self, field: &'static str) -> Result<usize, ShapeError> {
        non_negative(field, i64::from(i16::from_be_bytes(self.take(field)?)))
    }

    /// One more than the length is written; 0 stands for null.
    fn compact_length(&mut self, field: &'static str) -> Result<usize, ShapeError> {
        Ok(usize::try_from(self.varint(field)?.saturating_sub(1)).unwrap_or(usize::MAX))
    }

    /// Five bytes at most; what does not fit 32 bits is cut off, as the decoder does.
    fn varint(&mut self, field: &'static str) -> Result<u32, ShapeError> {
        let mut value = 0;
        for index in 0..5 {
            let [byte] = self.take(field)?;
            value |= u32::from(byte & 0x7f) << (index * 7);
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }
}

fn non_negative(field: &'static str, length: i64) -> Result<usize, ShapeError> {
    if length == -1 {
        return Ok(0);
    }
    usize::try_from(length).map_err(|_| ShapeError::NegativeLength { field, length })
}

#[cfg(test)]
mod tests;
