//! The named events of a run, counted, so that a simulation in which nothing happens does not pass.

use std::collections::BTreeMap;

macro_rules! named {
    ($($name:ident: $text:literal,)*) => {
        /// A named event. Each one in [`Named::ALL`] must come up in at least 5 % of the runs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Named {
            $($name,)*
        }

        impl Named {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            #[must_use]
            pub const fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

named! {
    Crash: "crash",
    TailLost: "leader lost with a part that is not committed",
    LeaderMoved: "leadership moved",
    Unaware: "coordinator goes on after its leadership",
    LoadWaited: "load that waits for a commit",
    Shortened: "coordinator's log shortened",
    AppendRefused: "append of a coordinator refused",
    Commit: "transaction committed",
    CommitOfOldClient: "transaction of an old client committed",
    Abort: "transaction aborted by its producer",
    AbortedOtherwise: "transaction aborted by its coordinator",
    ProducerIdChanged: "producer that got another id",
    Fenced: "producer fenced",
    Died: "producer died",
    Replaced: "living producer replaced",
    Silent: "producer silent for too long",
    Duplicate: "batch repeated",
    GuardVoid: "guard of a verification void",
    MarkerRepeated: "marker repeated",
    MarkerSuperseded: "marker superseded",
    MarkerLost: "marker lost",
    CoordinatorFenced: "marker of an earlier coordinator",
    LeaderUnknown: "marker for an unknown leader",
    PartitionDeleted: "marker for a deleted topic",
    ResultRepeated: "result of a task repeated",
    TaskLost: "task lost",
    Expired: "transactional id expired",
    TrimmedPastOpen: "trim past an open transaction",
    OffsetRead: "committed offset read",
    OffsetUnstable: "offset unstable",
    Heartbeat: "heartbeat of a member",
    Revoked: "partition revoked",
    MemberFenced: "member fenced",
    AbortedFiltered: "aborted batch filtered",
}

/// How often each event came up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events(BTreeMap<Named, u64>);

impl Events {
    pub fn note(&mut self, named: Named) {
        *self.0.entry(named).or_default() += 1;
    }

    pub fn iter(&self) -> impl Iterator<Item = (Named, u64)> {
        self.0.iter().map(|(named, count)| (*named, *count))
    }
}
