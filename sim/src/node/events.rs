//! The named events of a run, counted, so that a simulation in which nothing happens does not pass.

use std::collections::BTreeMap;

/// A named event. Each one in [`Named::ALL`] must come up in at least 5 % of the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    PowerCut,
    Kill,
    CleanEnd,
    CrashInStart,
    CrashInStartTwice,
    TornTailDropped,
    UnknownFound,
    UnknownLost,
    SegmentRolled,
    SegmentFreed,
    BatchesMoved,
    SlotFilled,
    SlotFailed,
    LogFull,
    DiskFull,
    ReadError,
    Poison,
    StartFailed,
    StartRefused,
    SectorHarmed,
    DamageMark,
    MoveDelayed,
    ColdRead,
    Eviction,
    NoMemory,
    Retention,
    ProducersExpired,
    Trim,
    Deletion,
    Lead,
    Duplicate,
    Cut,
    CutOfDurable,
    CutAfterRestart,
    BaseRead,
    BaseGivenUp,
    CutReplaced,
    CutUnderWay,
    LeadOverCut,
    AppendWhileCut,
    WatermarkInBatch,
    Reset,
    TwoCommits,
    CommitsOutOfOrder,
    StaleChange,
    CheckpointInPieces,
    CrashInCheckpoint,
    StaleMap,
}

impl Named {
    pub const ALL: [Self; 47] = [
        Self::PowerCut,
        Self::Kill,
        Self::CleanEnd,
        Self::CrashInStart,
        Self::CrashInStartTwice,
        Self::TornTailDropped,
        Self::UnknownFound,
        Self::UnknownLost,
        Self::SegmentRolled,
        Self::SegmentFreed,
        Self::BatchesMoved,
        Self::SlotFilled,
        Self::SlotFailed,
        Self::LogFull,
        Self::DiskFull,
        Self::ReadError,
        Self::Poison,
        Self::StartFailed,
        Self::StartRefused,
        Self::SectorHarmed,
        Self::DamageMark,
        Self::MoveDelayed,
        Self::ColdRead,
        Self::Eviction,
        Self::NoMemory,
        Self::Retention,
        Self::ProducersExpired,
        Self::Trim,
        Self::Deletion,
        Self::Lead,
        Self::Duplicate,
        Self::Cut,
        Self::CutOfDurable,
        Self::CutAfterRestart,
        Self::BaseRead,
        Self::CutReplaced,
        Self::CutUnderWay,
        Self::LeadOverCut,
        Self::AppendWhileCut,
        Self::WatermarkInBatch,
        Self::Reset,
        Self::TwoCommits,
        Self::CommitsOutOfOrder,
        Self::StaleChange,
        Self::CheckpointInPieces,
        Self::CrashInCheckpoint,
        Self::StaleMap,
    ];

    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::PowerCut => "power cut",
            Self::Kill => "kill -9",
            Self::CleanEnd => "clean shutdown",
            Self::CrashInStart => "crash in a start",
            Self::CrashInStartTwice => "two crashes in starts in a row",
            Self::TornTailDropped => "torn tail dropped",
            Self::UnknownFound => "unacknowledged batch found",
            Self::UnknownLost => "unacknowledged batch lost",
            Self::SegmentRolled => "segment rolled",
            Self::SegmentFreed => "segment freed",
            Self::BatchesMoved => "batches moved",
            Self::SlotFilled => "slot filled",
            Self::SlotFailed => "slot failed",
            Self::LogFull => "log full",
            Self::DiskFull => "disk full",
            Self::ReadError => "EIO on a read",
            Self::Poison => "poison",
            Self::StartFailed => "start failed",
            Self::StartRefused => "start refused",
            Self::SectorHarmed => "sector harmed",
            Self::DamageMark => "damage mark",
            Self::MoveDelayed => "move delayed",
            Self::ColdRead => "cold read",
            Self::Eviction => "eviction",
            Self::NoMemory => "no memory",
            Self::Retention => "retention",
            Self::ProducersExpired => "producers expired",
            Self::Trim => "trim",
            Self::Deletion => "deletion",
            Self::Lead => "new leader epoch",
            Self::Duplicate => "duplicate",
            Self::Cut => "batch cut off",
            Self::CutOfDurable => "durable batch cut off",
            Self::CutAfterRestart => "cut after a restart",
            Self::BaseRead => "base of a cut read",
            Self::BaseGivenUp => "base of a cut lost",
            Self::CutReplaced => "cut that replaces another",
            Self::CutUnderWay => "cut refused while another is in progress",
            Self::LeadOverCut => "leadership that replaces a cut",
            Self::AppendWhileCut => "append to a log that is being cut",
            Self::WatermarkInBatch => "watermark inside a batch",
            Self::Reset => "log reset",
            Self::TwoCommits => "two commits in flight",
            Self::CommitsOutOfOrder => "two commits out of order",
            Self::StaleChange => "stale change dropped",
            Self::CheckpointInPieces => "checkpoint in pieces",
            Self::CrashInCheckpoint => "crash inside a checkpoint",
            Self::StaleMap => "segment retired before its reader arrived",
        }
    }
}

/// How often each event came up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events(BTreeMap<Named, u64>);

impl Events {
    pub fn note(&mut self, named: Named) {
        *self.0.entry(named).or_default() += 1;
    }

    #[must_use]
    pub fn has(&self, named: Named) -> bool {
        self.0.contains_key(&named)
    }

    pub fn iter(&self) -> impl Iterator<Item = (Named, u64)> {
        self.0.iter().map(|(named, count)| (*named, *count))
    }
}
