//! The values of the records of transactions: each names its transaction, and its place in it.

use super::audit::Transaction;

/// One record of a transaction that has `count` of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    pub transaction: Transaction,
    pub index: u16,
    pub count: u16,
}

impl Piece {
    /// A text of at least `length` bytes.
    pub fn value(self, length: usize) -> String {
        let Piece { transaction: Transaction { producer, number }, index, count } = self;
        let head = format!("{producer}/{number}/{index}/{count}/");
        let filler = ".".repeat(length.saturating_sub(head.len()));
        head + &filler
    }

    /// The piece of a value that was read; `None` if it is no such value.
    pub fn parse(value: &[u8]) -> Option<Piece> {
        let mut parts = std::str::from_utf8(value).ok()?.split('/');
        let (producer, number) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let (index, count) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let is_filler = parts.next()?.bytes().all(|byte| byte == b'.');
        (is_filler && index < count).then_some(Piece { transaction: Transaction { producer, number }, index, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_says_its_piece_and_other_bytes_say_none() {
        let piece = Piece { transaction: Transaction { producer: 7, number: 1 << 40 }, index: 2, count: 3 };
        for length in [0, 100] {
            let value = piece.value(length);
            assert!(value.len() >= length);
            assert_eq!(Piece::parse(value.as_bytes()), Some(piece));
        }
        for other in ["", "1/2/3", "1/2/3/3/", "1/2/0/3/x", "a/2/0/3/"] {
            assert_eq!(Piece::parse(other.as_bytes()), None, "{other}");
        }
    }
}
