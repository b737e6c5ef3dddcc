//! The names that group requests carry.
//!
//! The driver makes member ids, because a core draws no random numbers.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use super::error::GroupError;

/// Texts in a record's key have a 16-bit length.
const GROUP_ID_LENGTH_MAX: usize = 32_767;

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            #[must_use]
            pub fn new(text: &str) -> Self {
                Self(Arc::from(text))
            }

            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.0.is_empty()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(Arc::from(text))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name_type! {
    /// The name of a group, any string. The empty name is legal for offsets that are committed
    /// without group membership.
    GroupId
}
impl GroupId {
    /// Whether records can name the group.
    pub(crate) fn check_length(&self) -> Result<(), GroupError> {
        if self.as_str().len() > GROUP_ID_LENGTH_MAX { Err(GroupError::InvalidGroupId) } else { Ok(()) }
    }
}

name_type! {
    /// One incarnation of a member. A member that has no id yet sends an empty one.
    MemberId
}
name_type! {
    /// `group.instance.id`: the name under which a static member comes back (KIP-345).
    InstanceId
}
