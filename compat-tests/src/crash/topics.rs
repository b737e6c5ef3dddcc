//! Creates topics under load, and deletes some of them again. Reports the acknowledged operations.

use super::admin::Admin;
use super::ledger::Report;
use super::writer::Load;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::VecDeque;
use std::thread;
use std::time::Duration;

/// The most topics that exist at a time.
const KEPT: usize = 40;

pub fn run(port: u16, load: &Load, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut kept: VecDeque<String> = VecDeque::new();
    let mut connection: Option<Admin> = None;
    for number in 0_u32.. {
        // Paces the load; waits for no event.
        thread::sleep(Duration::from_millis(random.random_range(20..300)));
        if load.is_stopped() {
            return;
        }
        let Some(admin) = connection.as_mut() else {
            connection = Admin::connect(port).ok();
            continue;
        };
        let done = if kept.len() < KEPT {
            let (topic, partitions) = (format!("made-{number}"), random.random_range(1..5_u8));
            let done = admin.create_topic(&topic, i32::from(partitions), &[]);
            if done.is_ok() {
                kept.push_back(topic.clone());
                load.ledger.report(Report::Created { topic, partitions: usize::from(partitions) });
            }
            done
        } else {
            let Some(topic) = kept.pop_front() else { continue };
            load.ledger.send_deletion(&topic);
            let done = admin.delete_topic(&topic);
            if done.is_ok() {
                load.ledger.report(Report::Deleted { topic });
            }
            done
        };
        if done.is_err() {
            connection = None;
        }
    }
}
