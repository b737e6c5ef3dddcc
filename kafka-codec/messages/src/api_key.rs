//! Which APIs there are, in which versions. The table is generated; what follows from it is here.

use std::fmt;
use std::ops::RangeInclusive;

/// A number that is no key of an API known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no API with key {0}")]
pub struct UnknownApiKey(pub i16);

/// A request or a response, whole.
pub trait Message {
    const KEY: ApiKey;
}

/// A request, and what it is answered with.
pub trait Request: Message {
    type Response: Message;
}

/// What the schemas say about an API.
struct Facts {
    name: &'static str,
    first: i16,
    last: i16,
    flexible_from: i16,
    is_latest_unstable: bool,
}

macro_rules! define {
    ($($name:ident $key:literal $first:literal $last:literal $flexible_from:literal $unstable:literal
        $request:ident $response:ident;)*) => {
        /// The APIs that the schemas describe.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i16)]
        pub enum ApiKey {
            $($name = $key,)*
        }

        impl ApiKey {
            /// By key.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            const fn facts(self) -> Facts {
                match self {
                    $(Self::$name => Facts {
                        name: stringify!($name),
                        first: $first,
                        last: $last,
                        flexible_from: $flexible_from,
                        is_latest_unstable: $unstable,
                    },)*
                }
            }
        }

        impl TryFrom<i16> for ApiKey {
            type Error = UnknownApiKey;

            fn try_from(key: i16) -> Result<Self, UnknownApiKey> {
                match key {
                    $($key => Ok(Self::$name),)*
                    unknown => Err(UnknownApiKey(unknown)),
                }
            }
        }

        $(
            impl Message for crate::$request {
                const KEY: ApiKey = ApiKey::$name;
            }

            impl Message for crate::$response {
                const KEY: ApiKey = ApiKey::$name;
            }

            impl Request for crate::$request {
                type Response = crate::$response;
            }
        )*
    };
}

for_each_api!(define);

impl ApiKey {
    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The versions of which the schema is known.
    #[must_use]
    pub const fn versions(self) -> RangeInclusive<i16> {
        let Facts { first, last, .. } = self.facts();
        first..=last
    }

    /// The last version that Kafka will not change any more.
    #[must_use]
    pub const fn last_stable_version(self) -> i16 {
        let Facts { last, is_latest_unstable, .. } = self.facts();
        if is_latest_unstable { last - 1 } else { last }
    }

    /// Whether messages of the version, and headers of requests, have compact lengths and tagged
    /// fields (KIP-482).
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.facts().flexible_from
    }

    /// Whether the header of the response has tagged fields. That of ApiVersions never has: its
    /// client does not know yet which version the broker has answered in (KIP-511).
    #[must_use]
    pub const fn has_flexible_response_header(self, version: i16) -> bool {
        !matches!(self, Self::ApiVersions) && self.is_flexible(version)
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
