//! The next step of a caller whose operation was refused.

/// The next step of a caller whose operation was refused. Each error of the broker has one, so that
/// a caller needs no list of variants to choose between trying again and giving up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Send the same request to the same broker again after a short pause: a deadline has passed, a
    /// bound is met, or the bytes were damaged on their way.
    Retry,
    /// Ask for the cluster's metadata, or for the coordinator, and send the request to the broker
    /// that is named there: the caller's knowledge and this broker's differ.
    RefreshMetadata,
    /// Take a new identity and begin again with it: the member, generation or producer epoch of the
    /// request is not, or no longer, the current one.
    Fenced,
    /// Change the request. The same request is refused every time, unless the state that it refers
    /// to changes.
    Invalid,
    /// Send the same request again with growing pauses, and alert an operator if it fails for long:
    /// the log, the controller or a coordinator does not serve now.
    Unavailable,
    /// Give up and alert an operator: the broker has a defect, or has lost data.
    Internal,
}

impl ErrorKind {
    /// Whether the same request may succeed later, here or at another broker.
    #[must_use]
    pub const fn is_retriable(self) -> bool {
        match self {
            Self::Retry | Self::RefreshMetadata | Self::Unavailable => true,
            Self::Fenced | Self::Invalid | Self::Internal => false,
        }
    }
}
