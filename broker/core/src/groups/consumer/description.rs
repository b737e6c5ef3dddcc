//! A consumer group as ConsumerGroupDescribe shows it: committed state only.

use super::group::ConsumerGroup;
use super::image::MemberImage;
use super::member::MemberSubscription;
use super::partitions::Assignment;
use super::target::preferred_assignor;
use crate::groups::identity::{GroupId, MemberId};
use crate::groups::state::ConsumerState;

/// One group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupDescription {
    pub group: GroupId,
    pub state: ConsumerState,
    pub epoch: i32,
    pub assignment_epoch: i32,
    pub assignor: String,
    pub members: Vec<ConsumerMemberDescription>,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerMemberDescription {
    pub member: MemberId,
    pub epoch: i32,
    pub subscription: MemberSubscription,
    pub assignment: Assignment,
    pub target: Assignment,
}

impl ConsumerGroup {
    pub(crate) fn description(&self) -> ConsumerGroupDescription {
        let image = self.committed_image();
        let members = image.members().iter().map(|(id, member)| describe(id, member));
        ConsumerGroupDescription {
            group: self.id().clone(),
            state: self.state_of(&image),
            epoch: image.epoch().map_or(0, |group| group.epoch),
            assignment_epoch: image.target_epoch(),
            assignor: preferred_assignor(&image, &self.config().consumer.assignors).name().to_owned(),
            members: members.collect(),
        }
    }
}

fn describe(id: &MemberId, member: &MemberImage) -> ConsumerMemberDescription {
    ConsumerMemberDescription {
        member: id.clone(),
        epoch: member.current().map_or(0, |current| current.epoch),
        subscription: member.subscription().map(|it| (**it).clone()).unwrap_or_default(),
        assignment: member.current().map(|current| current.assigned.assignment()).unwrap_or_default(),
        target: member.target().map(|target| (**target).clone()).unwrap_or_default(),
    }
}
