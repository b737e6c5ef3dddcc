//! The parameters of a run, drawn from its seed. Some runs lack some kinds of faults, so that
//! frequent faults do not always hide rare ones.

use std::time::Duration;

use rustmq_broker_core::coordinator::CoordinatorLimits;
use rustmq_broker_core::transactions::TransactionConfig;

use crate::{Chance, Delay, Rng};

pub const BROKERS: usize = 3;

#[derive(Clone, Debug)]
pub struct Setting {
    /// The number of transactional ids.
    pub ids: usize,
    /// The number of members of the consumer group.
    pub consumers: usize,
    /// The number of partitions that producers write to.
    pub partitions: usize,
    /// Whether the last of these partitions is deleted and made again.
    pub has_deletions: bool,
    pub coordinator: TransactionConfig,
    pub limits: CoordinatorLimits,
    /// The timeout of each transaction.
    pub timeout: Duration,
    pub delay: Delay,
    pub late_delay: Delay,
    /// The probability that a message is lost. `doubled` and `late` are per message, too.
    pub lost: Chance,
    pub doubled: Chance,
    pub late: Chance,
    pub sync: Delay,
    /// The probability that the log refuses an append of a coordinator.
    pub refused: Chance,
    /// The time that a coordinator takes to load its log.
    pub load: Delay,
    /// The time between two requests of one producer.
    pub pace: Delay,
    /// The probability that a producer dies before a request. `hung` is per request, too.
    pub death: Chance,
    /// The probability that a producer falls silent for longer than its transaction may take.
    pub hung: Chance,
    pub fault_interval: Delay,
    /// The time from the loss of a leader to the next leader.
    pub leaderless: Delay,
    /// The time that a coordinator goes on after its leadership has ended.
    pub unaware: Delay,
    /// The number of requests before the faults stop.
    pub requests: u64,
}

impl Setting {
    pub fn draw(rng: &mut Rng) -> Self {
        let millis = Duration::from_millis;
        let is_lossy = rng.coin();
        let is_slow = rng.below(3) == 0;
        let forgets_ids = rng.below(4) == 0;
        let is_hasty = rng.below(4) == 0;
        let coordinator = TransactionConfig {
            request_wait_max: millis(rng.between(20, 400)),
            retry_pause_min: millis(rng.between(1, 10)),
            retry_pause_max: millis(rng.between(20, 200)),
            producer_id_pause: millis(rng.between(5, 50)),
            task_timeout: millis(rng.between(300, 1_000)),
            id_expiration: if forgets_ids { millis(rng.between(30, 300)) } else { Duration::from_secs(3_600) },
            id_expiration_check_interval: millis(rng.between(5, 50)),
            ..TransactionConfig::default()
        };
        let limits = CoordinatorLimits {
            waiting_max: 1_000,
            pending_bytes_max: 1 << 20,
            log_bytes: 500 << rng.below(6),
            rewrite_batch_bytes_max: 300,
        };
        Self {
            ids: 2 + rng.below(3),
            consumers: 2 + rng.below(3),
            partitions: 2 + rng.below(3),
            has_deletions: rng.below(3) == 0,
            coordinator,
            limits,
            timeout: if is_hasty { millis(rng.between(15, 60)) } else { millis(rng.between(60, 1_000)) },
            delay: Delay::micros(50, 500 << rng.below(4)),
            late_delay: Delay::micros(5_000, 400_000),
            lost: if is_lossy { Chance::percent(3) } else { Chance::NEVER },
            doubled: if rng.coin() { Chance::percent(3) } else { Chance::NEVER },
            late: if rng.coin() { Chance::percent(5) } else { Chance::NEVER },
            sync: if is_slow { Delay::micros(200, 20_000) } else { Delay::micros(50, 2_000) },
            refused: if rng.coin() { Chance::percent(2) } else { Chance::NEVER },
            load: Delay::micros(100, 50_000),
            pace: Delay::micros(100, 4_000),
            death: if rng.below(4) == 0 { Chance::NEVER } else { Chance::per_million(15_000) },
            hung: if rng.coin() { Chance::per_million(10_000) } else { Chance::NEVER },
            fault_interval: Delay::micros(10_000, 60_000 << rng.below(5)),
            leaderless: Delay::micros(500, 20_000 << rng.below(4)),
            unaware: Delay::micros(500, 100_000),
            requests: 1_000 + rng.between(0, 400),
        }
    }
}
