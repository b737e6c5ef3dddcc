//! A controller on a disk that hangs, or that loses unsynced writes: answered commands survive.
//!
//! The fault model: between two syncs, any subset of the writes reaches the disk, each whole or not
//! at all; a kill of the process keeps all of them. Synced bytes stay.

use std::io;
use std::sync::{Mutex, mpsc};
use std::task::{Context, Waker};

use redb::StorageBackend;

use super::*;

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<Contents>>);

#[derive(Clone, Debug, Default)]
struct Contents {
    synced: Vec<u8>,
    unsynced: Vec<Change>,
    now: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Change {
    Length(usize),
    Bytes(usize, Vec<u8>),
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Length(length) => image.resize(*length, 0),
            Self::Bytes(offset, bytes) => {
                let end = offset + bytes.len();
                // The disk has kept the write, but not the growth of the file before it.
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[*offset..end].copy_from_slice(bytes);
            }
        }
    }
}

impl Disk {
    fn change(&self, change: Change) {
        let mut contents = self.0.lock().unwrap();
        change.apply(&mut contents.now);
        contents.unsynced.push(change);
    }

    /// The disk after the process was killed.
    fn after_kill(&self) -> Self {
        let image = self.0.lock().unwrap().now.clone();
        Self::holding(image)
    }

    /// The disk after a power cut: `choice` selects the lost writes.
    fn after_power_cut(&self, mut choice: u64) -> Self {
        let contents = self.0.lock().unwrap().clone();
        let mut image = contents.synced;
        for change in &contents.unsynced {
            choice = choice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if choice >> 63 == 0 {
                change.apply(&mut image);
            }
        }
        Self::holding(image)
    }

    /// Makes the disk hang until the sender is dropped.
    async fn hang(&self) -> mpsc::Sender<()> {
        let (hold, held) = mpsc::channel();
        let (begin, begun) = tokio::sync::oneshot::channel();
        let contents = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || {
            let _contents = contents.lock().unwrap();
            begin.send(()).unwrap();
            // An error means that the sender is dropped.
            let _ = held.recv();
        });
        begun.await.unwrap();
        hold
    }

    fn holding(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Contents { synced: image.clone(), unsynced: Vec::new(), now: image })))
    }

    async fn start(&self, config: ControllerConfig) -> RaftController {
        let redb = redb::Database::builder().create_with_backend(self.clone()).unwrap();
        let database = Arc::new(Database::over(redb).unwrap());
        let machine = StateMachine::open(Arc::clone(&database), 64).unwrap();
        RaftController::start(database, machine, config).await.unwrap()
    }

    /// The state of a controller that recovers from this disk.
    async fn recovered(&self) -> Arc<ClusterState> {
        let controller = self.start(ControllerConfig::default()).await;
        let state = controller.snapshot().state;
        state.check_invariants();
        controller.shutdown().await;
        state
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().now.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let contents = self.0.lock().unwrap();
        out.copy_from_slice(&contents.now[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Change::Length(usize::try_from(length).unwrap()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut contents = self.0.lock().unwrap();
        let Contents { synced, unsynced, .. } = &mut *contents;
        unsynced.drain(..).for_each(|change| change.apply(synced));
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Bytes(usize::try_from(offset).unwrap(), data.to_vec()));
        Ok(())
    }
}

async fn founded(disk: &Disk, config: ControllerConfig) -> RaftController {
    let controller = disk.start(config).await;
    controller.submit(bootstrap(), None).await.unwrap().result.unwrap();
    controller.submit(register("one"), None).await.unwrap().result.unwrap();
    controller
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answered_command_survives_a_kill_and_a_power_cut() {
    let disk = Disk::default();
    let controller = founded(&disk, ControllerConfig::default()).await;
    for number in 0..12 {
        controller.submit(create(number), None).await.unwrap().result.unwrap();
        assert_eq!(*disk.after_kill().recovered().await, *controller.snapshot().state);
        assert_eq!(*disk.after_power_cut(u64::from(number)).recovered().await, *controller.snapshot().state);
    }
    controller.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crashes_amid_commands_and_snapshots_lose_none_that_was_answered() {
    let disk = Disk::default();
    let config = ControllerConfig { snapshot_log_bytes: ByteSize::kib(4), ..ControllerConfig::default() };
    let controller = founded(&disk, config).await;
    let answered = Arc::new(Mutex::new(0));
    let writer = {
        let (controller, answered) = (controller.clone(), Arc::clone(&answered));
        tokio::spawn(async move {
            for number in 0..400 {
                controller.submit(create(number), None).await.unwrap().result.unwrap();
                *answered.lock().unwrap() = number + 1;
            }
        })
    };
    let mut choice = 0;
    while !writer.is_finished() {
        let count = *answered.lock().unwrap();
        choice += 1;
        let survivor = if choice % 3 == 0 { disk.after_kill() } else { disk.after_power_cut(choice) };
        let state = survivor.recovered().await;
        for number in 0..count {
            assert!(state.topic(&format!("topic-{number}")).is_some(), "topic {number} was answered (cut {choice})");
        }
    }
    writer.await.unwrap();
    controller.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submission_that_is_dropped_keeps_its_turn_until_its_command_is_applied() {
    let disk = Disk::default();
    let config = ControllerConfig { submissions_max: 2, ..ControllerConfig::default() };
    let controller = founded(&disk, config).await;
    let hang = disk.hang().await;
    for number in 0..2 {
        let mut submission = controller.submit(create(number), None);
        let polled = submission.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending(), "its turn has come, and the disk hangs");
    }
    let third = controller.submit(create(2), Some(Duration::from_millis(20)));
    let third = tokio::time::timeout(Duration::from_secs(10), third).await;
    assert_eq!(third, Ok(Err(SubmitError::Late)), "the log holds two commands");
    drop(hang);
    controller.submit(create(2), None).await.unwrap().result.unwrap();
    let state = controller.snapshot().state;
    for number in 0..3 {
        assert!(state.topic(&format!("topic-{number}")).is_some(), "topic {number}: a dropped command takes effect");
    }
    controller.shutdown().await;
}
