//! Random messages as bytes, by interpreting their schemas: it shares with the codec what the
//! schemas say, and not how values lie on the wire.

use bytes::{BufMut, Bytes, BytesMut};
use rustmq_kafka_codec_generator::{DefaultValue, Field, Message, Type};

/// One message, without and with tagged fields that no schema knows.
pub struct Sample {
    pub bytes: Bytes,
    pub with_strangers: Bytes,
    /// Elements of lists, and tagged fields.
    pub elements: usize,
}

pub fn sample(message: &Message, version: i16, seed: u64) -> Sample {
    let write = |has_strangers| {
        let mut writer = Writer { message, version, has_strangers, elements: 0, chance: Chance(seed) };
        let mut out = BytesMut::new();
        writer.structure(&mut out, &message.structures[0].name, false);
        (out.freeze(), writer.elements)
    };
    let (bytes, elements) = write(false);
    Sample { bytes, with_strangers: write(true).0, elements }
}

/// Numbers that follow from a seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

struct Writer<'a> {
    message: &'a Message,
    version: i16,
    has_strangers: bool,
    elements: usize,
    chance: Chance,
}

impl Writer<'_> {
    /// A structure at random, or as it is by default.
    fn structure(&mut self, out: &mut BytesMut, name: &str, is_default: bool) {
        let structure = self.message.structures.iter().find(|structure| structure.name == name).unwrap();
        let present = |field: &&Field| field.versions.contains(self.version);
        let fields: Vec<&Field> = structure.fields.iter().filter(present).collect();
        for field in fields.iter().filter(|field| field.tag.is_none()) {
            self.field(out, field, is_default);
        }
        if !self.is_flexible() {
            return;
        }
        let mut tagged = Vec::new();
        for field in fields.iter().filter(|field| field.tag.is_some() && !is_default) {
            if self.chance.below(2) == 0 && !self.comes_out_as_default(field) {
                let mut value = BytesMut::new();
                self.field(&mut value, field, false);
                tagged.push((field.tag.unwrap(), value));
            }
        }
        if self.has_strangers && !is_default {
            tagged.push((1000, BytesMut::from(&b"something"[..])));
            tagged.push((2000, BytesMut::new()));
        }
        tagged.sort_by_key(|(tag, _)| *tag);
        varint(out, tagged.len() as u32);
        self.elements += tagged.len();
        for (tag, value) in tagged {
            varint(out, tag);
            varint(out, value.len() as u32);
            out.extend_from_slice(&value);
        }
    }

    /// Whether the value to be written next is the default: a tagged field is then not there.
    fn comes_out_as_default(&self, field: &Field) -> bool {
        let mut trial = Writer { has_strangers: false, chance: Chance(self.chance.0), ..*self };
        let (mut value, mut default) = (BytesMut::new(), BytesMut::new());
        trial.field(&mut value, field, false);
        trial.field(&mut default, field, true);
        value == default
    }

    fn field(&mut self, out: &mut BytesMut, field: &Field, is_default: bool) {
        let may_be_null = field.nullable.contains(self.version);
        let is_null = match is_default {
            true => field.default == DefaultValue::Null,
            false => may_be_null && self.chance.below(4) == 0,
        };
        match &field.kind {
            Type::Structure(name) => {
                if may_be_null {
                    out.put_i8(if is_null { -1 } else { 1 });
                }
                if !is_null {
                    self.structure(out, name, is_default);
                }
            }
            kind if is_null => self.null(out, kind),
            kind if is_default => self.default(out, kind, field.default),
            kind => self.value(out, kind),
        }
    }

    fn null(&self, out: &mut BytesMut, kind: &Type) {
        match kind {
            _ if self.is_flexible() => out.put_u8(0),
            Type::Text => out.put_i16(-1),
            _ => out.put_i32(-1),
        }
    }

    fn default(&mut self, out: &mut BytesMut, kind: &Type, default: DefaultValue) {
        let number = match default {
            DefaultValue::Number(number) => number,
            DefaultValue::True => 1,
            DefaultValue::Empty | DefaultValue::Null => 0,
        };
        match kind {
            Type::Text | Type::Bytes | Type::Records | Type::List(_) => self.length(out, kind, 0),
            kind => fixed(out, kind, number as u64),
        }
    }

    fn value(&mut self, out: &mut BytesMut, kind: &Type) {
        match kind {
            Type::Text => {
                let letters: String = (0..self.chance.below(9))
                    .map(|_| ['a', '.', '\u{e9}', '\u{1f980}'][self.chance.below(4) as usize])
                    .collect();
                self.length(out, kind, letters.len());
                out.extend_from_slice(letters.as_bytes());
            }
            Type::Bytes | Type::Records => {
                // Some lengths take two bytes.
                let size = self.chance.below(3) * 70;
                self.length(out, kind, size as usize);
                out.extend((0..size).map(|_| self.chance.next() as u8));
            }
            Type::List(element) => {
                let count = self.chance.below(4) as usize;
                self.length(out, kind, count);
                self.elements += count;
                (0..count).for_each(|_| self.value(out, element));
            }
            Type::Structure(name) => self.structure(out, name, false),
            kind => {
                let edges = [0, 1, u64::MAX, u64::MAX >> 1, 1 << 63];
                let number = self.chance.next();
                let edge = edges.get(self.chance.below(10) as usize).copied();
                fixed(out, kind, edge.unwrap_or(number));
            }
        }
    }

    fn length(&self, out: &mut BytesMut, kind: &Type, length: usize) {
        match kind {
            _ if self.is_flexible() => varint(out, length as u32 + 1),
            Type::Text => out.put_i16(length as i16),
            _ => out.put_i32(length as i32),
        }
    }

    fn is_flexible(&self) -> bool {
        self.message.flexible.contains(self.version)
    }
}

fn fixed(out: &mut BytesMut, kind: &Type, number: u64) {
    match kind {
        Type::Bool => out.put_u8(number as u8 & 1),
        Type::Int8 => out.put_u8(number as u8),
        Type::Int16 | Type::Uint16 => out.put_u16(number as u16),
        Type::Int32 => out.put_u32(number as u32),
        Type::Int64 => out.put_u64(number),
        // Whole numbers: not each bit pattern of a float is one that stays the same.
        Type::Float64 => out.put_f64(number as u32 as f64),
        Type::Uuid => out.put_u128(u128::from(number) << 32),
        kind => panic!("{kind:?} has no fixed size"),
    }
}

fn varint(out: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}
