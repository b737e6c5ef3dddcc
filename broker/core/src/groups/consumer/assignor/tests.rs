#![allow(clippy::unwrap_used)]
use super::*;

/// A case of the fixture: made by Kafka's own assignors, from members and topics in order.
struct Case<'a> {
    name: &'a str,
    assignor: Assignor,
    partition_counts: BTreeMap<TopicId, usize>,
    members: Vec<Member>,
}

struct Member {
    id: MemberId,
    instance: Option<InstanceId>,
    topics: Vec<TopicId>,
    target: Assignment,
    expected: Assignment,
}

fn numbers(text: &str) -> impl Iterator<Item = i32> + '_ {
    text.split(',').filter(|number| *number != "-").map(|number| number.parse().unwrap())
}

fn topic(number: i32) -> TopicId {
    TopicId(u128::try_from(number).unwrap())
}

/// `1:0,2;3:5` are the partitions 0 and 2 of topic 1, and partition 5 of topic 3.
fn assignment(text: &str) -> Assignment {
    let topics = text.split(';').filter_map(|of_topic| of_topic.split_once(':'));
    topics
        .flat_map(|(id, partitions)| {
            numbers(partitions).map(|partition| (topic(id.parse().unwrap()), PartitionId(partition)))
        })
        .collect()
}

fn cases() -> Vec<Case<'static>> {
    let mut cases: Vec<Case<'static>> = Vec::new();
    for line in include_str!("../fixtures/kafka-4.4.0-assignments.txt").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words[0] {
            "case" => cases.push(Case {
                name: line,
                assignor: Assignor::from_name(words[2]).unwrap(),
                partition_counts: BTreeMap::new(),
                members: Vec::new(),
            }),
            "topic" => {
                let (id, count) = (topic(words[1].parse().unwrap()), words[2].parse().unwrap());
                cases.last_mut().unwrap().partition_counts.insert(id, count);
            }
            _ => cases.last_mut().unwrap().members.push(Member {
                id: words[1].into(),
                instance: (words[2] != "-").then(|| words[2].into()),
                topics: numbers(words[3]).map(topic).collect(),
                target: assignment(words[4]),
                expected: assignment(words[5]),
            }),
        }
    }
    cases
}

fn input<'a>(partition_counts: &BTreeMap<TopicId, usize>, members: &'a [Member]) -> AssignorInput<'a> {
    let members = members
        .iter()
        .map(|Member { id, instance, topics, target, .. }| AssignorMember {
            id,
            instance: instance.as_ref(),
            topics,
            target,
        })
        .collect();
    AssignorInput { members, partition_counts: partition_counts.clone() }
}

#[test]
fn assignments_are_kafkas() {
    let cases = cases();
    assert_eq!(cases.len(), 150);
    for Case { name, assignor, partition_counts, members } in &cases {
        let expected: Vec<_> = members.iter().map(|member| member.expected.clone()).collect();
        assert_eq!(assignor.assign(&input(partition_counts, members)), expected, "{name}");
    }
}

#[test]
fn nobody_and_nothing_are_assigned() {
    for assignor in Assignor::ALL {
        assert_eq!(Assignor::from_name(assignor.name()), Some(assignor));
        assert_eq!(assignor.assign(&AssignorInput::default()), []);
        let none = Member {
            id: "m".into(),
            instance: None,
            topics: vec![],
            target: assignment("1:0"),
            expected: Assignment::default(),
        };
        let members = [none];
        assert_eq!(assignor.assign(&input(&BTreeMap::new(), &members)), [Assignment::default()]);
    }
    assert_eq!(Assignor::from_name("sticky"), None);
}

/// A damaged log may give one partition to two members, or a partition that does not exist.
#[test]
fn a_partition_is_assigned_once_whatever_the_old_assignments_say() {
    let member = |id: &str, topics: &[i32], target: &str| Member {
        id: id.into(),
        instance: None,
        topics: topics.iter().copied().map(topic).collect(),
        target: assignment(target),
        expected: Assignment::default(),
    };
    let counts = BTreeMap::from([(topic(1), 4), (topic(2), 1)]);
    for other in [&[1][..], &[1, 2]] {
        let members = [member("a", &[1], "1:0,1,9"), member("b", other, "1:0,1;3:0")];
        for assignor in Assignor::ALL {
            let assigned = assignor.assign(&input(&counts, &members));
            let mut all: Vec<_> = assigned.iter().flat_map(Assignment::iter).collect();
            all.sort_unstable();
            let expected = 4 + other.len() - 1;
            all.dedup();
            assert_eq!(all.len(), expected, "{assignor:?} {other:?}");
            assert_eq!(assigned.iter().map(Assignment::len).sum::<usize>(), expected, "{assignor:?} {other:?}");
        }
    }
}
