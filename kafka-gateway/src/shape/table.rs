//! The shape of every request that this gateway reads, version by version: what [`super::check`]
//! walks before a message is decoded.
//!
//! It follows Kafka's message schemas; a test compares it with the decoder's own reading of every
//! version. It holds no meaning, only where lengths and counts stand.

use super::Kind::{Blob, Fixed, FixedList, List, Optional, TaggedList, Text, TextList};
use super::{Field, Shape, Tag};

/// By API key, ascending. A field says its name, its first and last version, and its kind.
pub static SHAPES: &[Shape] = &[
    Shape {
        key: 0,
        flexible_from: 9,
        fields: &[
            Field("transactional_id", 3, 13, Text),
            Field("acks", 0, 13, Fixed(2)),
            Field("timeout_ms", 0, 13, Fixed(4)),
            Field(
                "topic_data",
                0,
                13,
                List(&[
                    Field("name", 0, 12, Text),
                    Field("topic_id", 13, 13, Fixed(16)),
                    Field(
                        "partition_data",
                        0,
                        13,
                        List(&[Field("index", 0, 13, Fixed(4)), Field("records", 0, 13, Blob)]),
                    ),
                ]),
            ),
        ],
    },
    Shape {
        key: 1,
        flexible_from: 12,
        fields: &[
            Field("replica_id", 4, 14, Fixed(4)),
            Field("max_wait_ms", 4, 18, Fixed(4)),
            Field("min_bytes", 4, 18, Fixed(4)),
            Field("max_bytes", 4, 18, Fixed(4)),
            Field("isolation_level", 4, 18, Fixed(1)),
            Field("session_id", 7, 18, Fixed(4)),
            Field("session_epoch", 7, 18, Fixed(4)),
            Field(
                "topics",
                4,
                18,
                List(&[
                    Field("topic", 4, 12, Text),
                    Field("topic_id", 13, 18, Fixed(16)),
                    Field(
                        "partitions",
                        4,
                        18,
                        TaggedList(
                            &[
                                Field("partition", 4, 18, Fixed(4)),
                                Field("current_leader_epoch", 9, 18, Fixed(4)),
                                Field("fetch_offset", 4, 18, Fixed(8)),
                                Field("last_fetched_epoch", 12, 18, Fixed(4)),
                                Field("log_start_offset", 5, 18, Fixed(8)),
                                Field("partition_max_bytes", 4, 18, Fixed(4)),
                            ],
                            &[Tag(0, 17, 16), Tag(1, 18, 8)],
                        ),
                    ),
                ]),
            ),
            Field(
                "forgotten_topics_data",
                7,
                18,
                List(&[
                    Field("topic", 7, 12, Text),
                    Field("topic_id", 13, 18, Fixed(16)),
                    Field("partitions", 7, 18, FixedList(4)),
                ]),
            ),
            Field("rack_id", 11, 18, Text),
        ],
    },
    Shape {
        key: 2,
        flexible_from: 6,
        fields: &[
            Field("replica_id", 1, 10, Fixed(4)),
            Field("isolation_level", 2, 10, Fixed(1)),
            Field(
                "topics",
                1,
                10,
                List(&[
                    Field("name", 1, 10, Text),
                    Field(
                        "partitions",
                        1,
                        10,
                        List(&[
                            Field("partition_index", 1, 10, Fixed(4)),
                            Field("current_leader_epoch", 4, 10, Fixed(4)),
                            Field("timestamp", 1, 10, Fixed(8)),
                        ]),
                    ),
                ]),
            ),
            Field("timeout_ms", 10, 10, Fixed(4)),
        ],
    },
    Shape {
        key: 3,
        flexible_from: 9,
        fields: &[
            Field("topics", 0, 13, List(&[Field("topic_id", 10, 13, Fixed(16)), Field("name", 0, 13, Text)])),
            Field("allow_auto_topic_creation", 4, 13, Fixed(1)),
            Field("include_cluster_authorized_operations", 8, 10, Fixed(1)),
            Field("include_topic_authorized_operations", 8, 13, Fixed(1)),
        ],
    },
    Shape {
        key: 8,
        flexible_from: 8,
        fields: &[
            Field("group_id", 2, 10, Text),
            Field("generation_id_or_member_epoch", 2, 10, Fixed(4)),
            Field("member_id", 2, 10, Text),
            Field("group_instance_id", 7, 10, Text),
            Field("retention_time_ms", 2, 4, Fixed(8)),
            Field(
                "topics",
                2,
                10,
                List(&[
                    Field("name", 2, 9, Text),
                    Field("topic_id", 10, 10, Fixed(16)),
                    Field(
                        "partitions",
                        2,
                        10,
                        List(&[
                            Field("partition_index", 2, 10, Fixed(4)),
                            Field("committed_offset", 2, 10, Fixed(8)),
                            Field("committed_leader_epoch", 6, 10, Fixed(4)),
                            Field("committed_metadata", 2, 10, Text),
                        ]),
                    ),
                ]),
            ),
        ],
    },
    Shape {
        key: 9,
        flexible_from: 6,
        fields: &[
            Field("group_id", 1, 7, Text),
            Field("topics", 1, 7, List(&[Field("name", 1, 7, Text), Field("partition_indexes", 1, 7, FixedList(4))])),
            Field(
                "groups",
                8,
                10,
                List(&[
                    Field("group_id", 8, 10, Text),
                    Field("member_id", 9, 10, Text),
                    Field("member_epoch", 9, 10, Fixed(4)),
                    Field(
                        "topics",
                        8,
                        10,
                        List(&[
                            Field("name", 8, 9, Text),
                            Field("topic_id", 10, 10, Fixed(16)),
                            Field("partition_indexes", 8, 10, FixedList(4)),
                        ]),
                    ),
                ]),
            ),
            Field("require_stable", 7, 10, Fixed(1)),
        ],
    },
    Shape {
        key: 10,
        flexible_from: 3,
        fields: &[
            Field("key", 0, 3, Text),
            Field("key_type", 1, 6, Fixed(1)),
            Field("coordinator_keys", 4, 6, TextList),
        ],
    },
    Shape {
        key: 11,
        flexible_from: 6,
        fields: &[
            Field("group_id", 0, 9, Text),
            Field("session_timeout_ms", 0, 9, Fixed(4)),
            Field("rebalance_timeout_ms", 1, 9, Fixed(4)),
            Field("member_id", 0, 9, Text),
            Field("group_instance_id", 5, 9, Text),
            Field("protocol_type", 0, 9, Text),
            Field("protocols", 0, 9, List(&[Field("name", 0, 9, Text), Field("metadata", 0, 9, Blob)])),
            Field("reason", 8, 9, Text),
        ],
    },
    Shape {
        key: 12,
        flexible_from: 4,
        fields: &[
            Field("group_id", 0, 4, Text),
            Field("generation_id", 0, 4, Fixed(4)),
            Field("member_id", 0, 4, Text),
            Field("group_instance_id", 3, 4, Text),
        ],
    },
    Shape {
        key: 13,
        flexible_from: 4,
        fields: &[
            Field("group_id", 0, 5, Text),
            Field("member_id", 0, 2, Text),
            Field(
                "members",
                3,
                5,
                List(&[
                    Field("member_id", 3, 5, Text),
                    Field("group_instance_id", 3, 5, Text),
                    Field("reason", 5, 5, Text),
                ]),
            ),
        ],
    },
    Shape {
        key: 14,
        flexible_from: 4,
        fields: &[
            Field("group_id", 0, 5, Text),
            Field("generation_id", 0, 5, Fixed(4)),
            Field("member_id", 0, 5, Text),
            Field("group_instance_id", 3, 5, Text),
            Field("protocol_type", 5, 5, Text),
            Field("protocol_name", 5, 5, Text),
            Field("assignments", 0, 5, List(&[Field("member_id", 0, 5, Text), Field("assignment", 0, 5, Blob)])),
        ],
    },
    Shape {
        key: 15,
        flexible_from: 5,
        fields: &[Field("groups", 0, 6, TextList), Field("include_authorized_operations", 3, 6, Fixed(1))],
    },
    Shape {
        key: 16,
        flexible_from: 3,
        fields: &[Field("states_filter", 4, 5, TextList), Field("types_filter", 5, 5, TextList)],
    },
    Shape {
        key: 18,
        flexible_from: 3,
        fields: &[Field("client_software_name", 3, 4, Text), Field("client_software_version", 3, 4, Text)],
    },
    Shape {
        key: 19,
        flexible_from: 5,
        fields: &[
            Field(
                "topics",
                2,
                7,
                List(&[
                    Field("name", 2, 7, Text),
                    Field("num_partitions", 2, 7, Fixed(4)),
                    Field("replication_factor", 2, 7, Fixed(2)),
                    Field(
                        "assignments",
                        2,
                        7,
                        List(&[Field("partition_index", 2, 7, Fixed(4)), Field("broker_ids", 2, 7, FixedList(4))]),
                    ),
                    Field("configs", 2, 7, List(&[Field("name", 2, 7, Text), Field("value", 2, 7, Text)])),
                ]),
            ),
            Field("timeout_ms", 2, 7, Fixed(4)),
            Field("validate_only", 2, 7, Fixed(1)),
        ],
    },
    Shape {
        key: 20,
        flexible_from: 4,
        fields: &[
            Field("topics", 6, 6, List(&[Field("name", 6, 6, Text), Field("topic_id", 6, 6, Fixed(16))])),
            Field("topic_names", 1, 5, TextList),
            Field("timeout_ms", 1, 6, Fixed(4)),
        ],
    },
    Shape {
        key: 21,
        flexible_from: 2,
        fields: &[
            Field(
                "topics",
                0,
                2,
                List(&[
                    Field("name", 0, 2, Text),
                    Field(
                        "partitions",
                        0,
                        2,
                        List(&[Field("partition_index", 0, 2, Fixed(4)), Field("offset", 0, 2, Fixed(8))]),
                    ),
                ]),
            ),
            Field("timeout_ms", 0, 2, Fixed(4)),
        ],
    },
    Shape {
        key: 22,
        flexible_from: 2,
        fields: &[
            Field("transactional_id", 0, 5, Text),
            Field("transaction_timeout_ms", 0, 5, Fixed(4)),
            Field("producer_id", 3, 5, Fixed(8)),
            Field("producer_epoch", 3, 5, Fixed(2)),
        ],
    },
    Shape {
        key: 23,
        flexible_from: 4,
        fields: &[
            Field("replica_id", 3, 4, Fixed(4)),
            Field(
                "topics",
                2,
                4,
                List(&[
                    Field("topic", 2, 4, Text),
                    Field(
                        "partitions",
                        2,
                        4,
                        List(&[
                            Field("partition", 2, 4, Fixed(4)),
                            Field("current_leader_epoch", 2, 4, Fixed(4)),
                            Field("leader_epoch", 2, 4, Fixed(4)),
                        ]),
                    ),
                ]),
            ),
        ],
    },
    Shape {
        key: 32,
        flexible_from: 4,
        fields: &[
            Field(
                "resources",
                1,
                4,
                List(&[
                    Field("resource_type", 1, 4, Fixed(1)),
                    Field("resource_name", 1, 4, Text),
                    Field("configuration_keys", 1, 4, TextList),
                ]),
            ),
            Field("include_synonyms", 1, 4, Fixed(1)),
            Field("include_documentation", 3, 4, Fixed(1)),
        ],
    },
    Shape {
        key: 33,
        flexible_from: 2,
        fields: &[
            Field(
                "resources",
                0,
                2,
                List(&[
                    Field("resource_type", 0, 2, Fixed(1)),
                    Field("resource_name", 0, 2, Text),
                    Field("configs", 0, 2, List(&[Field("name", 0, 2, Text), Field("value", 0, 2, Text)])),
                ]),
            ),
            Field("validate_only", 0, 2, Fixed(1)),
        ],
    },
    Shape {
        key: 35,
        flexible_from: 2,
        fields: &[Field("topics", 1, 4, List(&[Field("topic", 1, 4, Text), Field("partitions", 1, 4, FixedList(4))]))],
    },
    Shape {
        key: 37,
        flexible_from: 2,
        fields: &[
            Field(
                "topics",
                0,
                3,
                List(&[
                    Field("name", 0, 3, Text),
                    Field("count", 0, 3, Fixed(4)),
                    Field("assignments", 0, 3, List(&[Field("broker_ids", 0, 3, FixedList(4))])),
                ]),
            ),
            Field("timeout_ms", 0, 3, Fixed(4)),
            Field("validate_only", 0, 3, Fixed(1)),
        ],
    },
    Shape { key: 42, flexible_from: 2, fields: &[Field("groups_names", 0, 2, TextList)] },
    Shape {
        key: 44,
        flexible_from: 1,
        fields: &[
            Field(
                "resources",
                0,
                1,
                List(&[
                    Field("resource_type", 0, 1, Fixed(1)),
                    Field("resource_name", 0, 1, Text),
                    Field(
                        "configs",
                        0,
                        1,
                        List(&[
                            Field("name", 0, 1, Text),
                            Field("config_operation", 0, 1, Fixed(1)),
                            Field("value", 0, 1, Text),
                        ]),
                    ),
                ]),
            ),
            Field("validate_only", 0, 1, Fixed(1)),
        ],
    },
    Shape {
        key: 47,
        flexible_from: i16::MAX,
        fields: &[
            Field("group_id", 0, 0, Text),
            Field(
                "topics",
                0,
                0,
                List(&[
                    Field("name", 0, 0, Text),
                    Field("partitions", 0, 0, List(&[Field("partition_index", 0, 0, Fixed(4))])),
                ]),
            ),
        ],
    },
    Shape {
        key: 60,
        flexible_from: 0,
        fields: &[
            Field("include_cluster_authorized_operations", 0, 2, Fixed(1)),
            Field("endpoint_type", 1, 2, Fixed(1)),
            Field("include_fenced_brokers", 2, 2, Fixed(1)),
        ],
    },
    Shape { key: 74, flexible_from: 0, fields: &[Field("resource_types", 1, 1, FixedList(1))] },
    Shape {
        key: 75,
        flexible_from: 0,
        fields: &[
            Field("topics", 0, 0, List(&[Field("name", 0, 0, Text)])),
            Field("response_partition_limit", 0, 0, Fixed(4)),
            Field(
                "cursor",
                0,
                0,
                Optional(&[Field("topic_name", 0, 0, Text), Field("partition_index", 0, 0, Fixed(4))]),
            ),
        ],
    },
];
