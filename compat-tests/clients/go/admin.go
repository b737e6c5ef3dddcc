package main

import (
	"context"
	"encoding/json"
	"errors"
	"sort"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type newTopic struct {
	Name        string
	Partitions  int32
	Replication int16
	Assignment  [][]int32
	Configs     map[string]string
}

func (p *program) administer(ctx context.Context, r *request) (object, error) {
	if p.admin == nil {
		client, err := kgo.NewClient(kgo.SeedBrokers(p.bootstrap), kgo.MetadataMinAge(10*time.Millisecond))
		if err != nil {
			return nil, err
		}
		p.client, p.admin = client, kadm.NewClient(client)
	}
	switch r.Op {
	case "create_topics", "delete_topics", "create_partitions", "list_topics", "describe_topics":
		return p.topics(ctx, r)
	case "describe_configs", "alter_configs", "incremental_alter_configs", "list_config_resources":
		return p.configs(ctx, r)
	case "list_groups", "describe_group", "delete_groups", "group_offsets", "alter_group_offsets", "delete_group_offsets":
		return p.groups(ctx, r)
	case "delete_records", "list_offsets", "leader_epoch":
		return p.logs(ctx, r)
	case "describe_cluster", "describe_log_dirs":
		return p.cluster(ctx, r)
	case "update_features":
		return p.updateFeatures(ctx, r)
	case "list_transactions", "describe_transaction", "describe_producers", "abort_by_marker":
		return p.operate(ctx, r)
	default:
		return nil, errUnsupported(r.Op)
	}
}

func errUnsupported(op string) error {
	return errors.Join(errors.New(op+" is not in this library"), kerr.ErrorForCode(unsupported))
}

func (p *program) topics(ctx context.Context, r *request) (object, error) {
	results := object{}
	var names []string
	switch r.Op {
	case "create_topics":
		return p.createTopics(ctx, r)
	case "create_partitions":
		update := p.admin.UpdatePartitions
		if r.ValidateOnly {
			update = p.admin.ValidateUpdatePartitions
		}
		done, err := update(ctx, r.Count, r.Topic)
		for name, one := range done {
			results[name] = code(one.Err)
		}
		return object{"results": results}, err
	case "list_topics":
		found, err := p.admin.ListTopics(ctx)
		return object{"topics": found.Names()}, err
	}
	if err := json.Unmarshal(r.Topics, &names); err != nil {
		return nil, err
	}
	if r.Op == "delete_topics" {
		done, err := p.admin.DeleteTopics(ctx, names...)
		for name, one := range done {
			results[name] = code(one.Err)
		}
		return object{"results": results}, err
	}
	return p.describeTopics(ctx, names)
}

// createTopics words the request itself: the library's call gives all topics one layout.
func (p *program) createTopics(ctx context.Context, r *request) (object, error) {
	var topics []newTopic
	if err := json.Unmarshal(r.Topics, &topics); err != nil {
		return nil, err
	}
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis, request.ValidateOnly = 30000, r.ValidateOnly
	for _, wanted := range topics {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = wanted.Name, wanted.Partitions, wanted.Replication
		if wanted.Assignment != nil {
			topic.NumPartitions, topic.ReplicationFactor = -1, -1
		}
		for partition, replicas := range wanted.Assignment {
			assignment := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			assignment.Partition, assignment.Replicas = int32(partition), replicas
			topic.ReplicaAssignment = append(topic.ReplicaAssignment, assignment)
		}
		for key, value := range wanted.Configs {
			config := kmsg.NewCreateTopicsRequestTopicConfig()
			config.Name, config.Value = key, kmsg.StringPtr(value)
			topic.Configs = append(topic.Configs, config)
		}
		request.Topics = append(request.Topics, topic)
	}
	response, err := request.RequestWith(ctx, p.client)
	if err != nil {
		return nil, err
	}
	results := object{}
	for _, topic := range response.Topics {
		results[topic.Topic] = topic.ErrorCode
	}
	return object{"results": results}, nil
}

// describeTopics asks with DescribeTopicPartitions, the newer way.
func (p *program) describeTopics(ctx context.Context, names []string) (object, error) {
	sort.Strings(names)
	request := kmsg.NewPtrDescribeTopicPartitionsRequest()
	request.ResponsePartitionLimit = 2000
	for _, name := range names {
		topic := kmsg.NewDescribeTopicPartitionsRequestTopic()
		topic.Topic = name
		request.Topics = append(request.Topics, topic)
	}
	response, err := request.RequestWith(ctx, p.client)
	if err != nil {
		return nil, err
	}
	described := object{}
	for _, topic := range response.Topics {
		partitions := []object{}
		for _, one := range topic.Partitions {
			partitions = append(partitions, object{"partition": one.Partition, "leader": one.LeaderID,
				"replicas": one.Replicas, "isr": one.ISR})
		}
		described[*topic.Topic] = object{"error": topic.ErrorCode, "partitions": partitions}
	}
	return object{"topics": described}, nil
}

func (p *program) configs(ctx context.Context, r *request) (object, error) {
	broker := int64(-1)
	if r.Type == "broker" && r.Name != "" {
		id, err := strconv.ParseInt(r.Name, 10, 32)
		if err != nil {
			return nil, err
		}
		broker = id
	}
	switch r.Op {
	case "list_config_resources":
		found, err := p.admin.ListConfigResources(ctx, kadm.ConfigResourceType(kmsg.ConfigResourceTypeTopic))
		names := []string{}
		for _, resource := range found.Resources {
			names = append(names, resource.Name)
		}
		return object{"topics": names}, err
	case "describe_configs":
		var found kadm.ResourceConfigs
		var err error
		if r.Type == "topic" {
			found, err = p.admin.DescribeTopicConfigs(ctx, r.Name)
		} else {
			found, err = p.admin.DescribeBrokerConfigs(ctx, int32(broker))
		}
		configs := object{}
		for _, resource := range found {
			if resource.Err != nil {
				return nil, resource.Err
			}
			for _, config := range resource.Configs {
				configs[config.Key] = config.Value
			}
		}
		return object{"configs": configs}, err
	}
	var changes []kadm.AlterConfig
	for key, value := range r.Configs {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: kadm.StringPtr(value)})
	}
	for key, value := range r.Set {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: kadm.StringPtr(value)})
	}
	for _, key := range r.Delete {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: key})
	}
	var done kadm.AlterConfigsResponses
	var err error
	switch {
	case r.Op == "alter_configs" && r.Type == "topic":
		done, err = p.admin.AlterTopicConfigsState(ctx, changes, r.Name)
	case r.Op == "alter_configs":
		done, err = p.admin.AlterBrokerConfigsState(ctx, changes, int32(broker))
	case r.Type == "topic":
		done, err = p.admin.AlterTopicConfigs(ctx, changes, r.Name)
	case r.Name == "":
		done, err = p.admin.AlterBrokerConfigs(ctx, changes)
	default:
		done, err = p.admin.AlterBrokerConfigs(ctx, changes, int32(broker))
	}
	results := object{}
	for _, one := range done {
		results[one.Name] = code(one.Err)
	}
	return object{"results": results}, err
}

func (p *program) groups(ctx context.Context, r *request) (object, error) {
	results := object{}
	switch r.Op {
	case "list_groups":
		found, err := p.admin.ListGroups(ctx)
		return object{"groups": found.Groups()}, err
	case "describe_group":
		if r.Protocol == "consumer" {
			return p.describeConsumerGroup(ctx, r.Group)
		}
		found, err := p.admin.DescribeGroups(ctx, r.Group)
		group := found[r.Group]
		if err == nil {
			err = group.Err
		}
		assigned := 0
		for _, partitions := range group.AssignedPartitions() {
			assigned += len(partitions)
		}
		return object{"state": group.State, "protocol": group.Protocol, "members": len(group.Members), "assigned": assigned}, err
	case "delete_groups":
		done, err := p.admin.DeleteGroups(ctx, r.Groups...)
		for name, one := range done {
			results[name] = code(one.Err)
		}
		return object{"results": results}, err
	case "group_offsets":
		found, err := p.admin.FetchOffsets(ctx, r.Group)
		offsets := [][]any{}
		for _, o := range found.Sorted() {
			offsets = append(offsets, []any{o.Topic, o.Partition, o.At, o.Metadata})
		}
		return object{"offsets": offsets}, err
	case "alter_group_offsets":
		offsets, err := parseOffsets(r.Offsets)
		if err != nil {
			return nil, err
		}
		return object{}, p.admin.CommitAllOffsets(ctx, r.Group, offsets)
	}
	var partitions []int32
	if err := json.Unmarshal(r.Partitions, &partitions); err != nil {
		return nil, err
	}
	set := kadm.TopicsSet{}
	set.Add(r.Topic, partitions...)
	done, err := p.admin.DeleteOffsets(ctx, r.Group, set)
	for partition, one := range done[r.Topic] {
		results[strconv.Itoa(int(partition))] = code(one)
	}
	return object{"results": results}, err
}

func (p *program) describeConsumerGroup(ctx context.Context, name string) (object, error) {
	found, err := p.admin.DescribeConsumerGroups(ctx, name)
	if err != nil {
		return nil, err
	}
	group := found[name]
	assigned := 0
	for _, partitions := range group.AssignedPartitions() {
		assigned += len(partitions)
	}
	return object{"state": group.State, "protocol": group.AssignorName, "members": len(group.Members),
		"assigned": assigned}, group.Err
}

func (p *program) logs(ctx context.Context, r *request) (object, error) {
	switch r.Op {
	case "delete_records":
		var offsets kadm.Offsets
		offsets.AddOffset(r.Topic, r.Partition, r.Before, -1)
		done, err := p.admin.DeleteRecords(ctx, offsets)
		if err != nil {
			return nil, err
		}
		one, _ := done.Lookup(r.Topic, r.Partition)
		return object{"low": one.LowWatermark}, one.Err
	case "list_offsets":
		var found kadm.ListedOffsets
		var err error
		switch r.At {
		case -1:
			found, err = p.admin.ListEndOffsets(ctx, r.Topic)
		case -2:
			found, err = p.admin.ListStartOffsets(ctx, r.Topic)
		case -3:
			found, err = p.admin.ListMaxTimestampOffsets(ctx, r.Topic)
		default:
			return p.offsetAt(ctx, r)
		}
		if err != nil {
			return nil, err
		}
		one, _ := found.Lookup(r.Topic, r.Partition)
		return object{"offset": one.Offset}, one.Err
	}
	request := kadm.OffsetForLeaderEpochRequest{}
	request.Add(r.Topic, r.Partition, r.Epoch)
	done, err := p.admin.OffsetForLeaderEpoch(ctx, request)
	if err != nil {
		return nil, err
	}
	one := done[r.Topic][r.Partition]
	return object{"epoch": one.LeaderEpoch, "end_offset": one.EndOffset}, one.Err
}

// offsetAt words the request itself: the library's call answers the end for a timestamp past it.
func (p *program) offsetAt(ctx context.Context, r *request) (object, error) {
	request := kmsg.NewPtrListOffsetsRequest()
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = r.Topic
	partition := kmsg.NewListOffsetsRequestTopicPartition()
	partition.Partition, partition.Timestamp = r.Partition, r.At
	topic.Partitions = append(topic.Partitions, partition)
	request.Topics = append(request.Topics, topic)
	response, err := request.RequestWith(ctx, p.client)
	if err != nil {
		return nil, err
	}
	for _, t := range response.Topics {
		for _, one := range t.Partitions {
			return object{"offset": one.Offset}, kerr.ErrorForCode(one.ErrorCode)
		}
	}
	return nil, errors.New("an answer without the partition")
}

func (p *program) cluster(ctx context.Context, r *request) (object, error) {
	if r.Op == "describe_log_dirs" {
		found, err := p.admin.DescribeAllLogDirs(ctx, nil)
		count := 0
		for _, folders := range found {
			for _, folder := range folders {
				count += len(folder.Topics[r.Topic])
			}
		}
		return object{"partitions": count}, err
	}
	request := kmsg.NewPtrDescribeClusterRequest()
	response, err := request.RequestWith(ctx, p.client)
	if err != nil {
		return nil, err
	}
	brokers := [][]any{}
	for _, broker := range response.Brokers {
		brokers = append(brokers, []any{broker.NodeID, broker.Host, broker.Port})
	}
	return object{"cluster_id": response.ClusterID, "controller": response.ControllerID, "brokers": brokers},
		kerr.ErrorForCode(response.ErrorCode)
}

// updateFeatures gives each feature the answer of the request: it takes effect as a whole.
func (p *program) updateFeatures(ctx context.Context, r *request) (object, error) {
	request := kmsg.NewPtrUpdateFeaturesRequest()
	request.ValidateOnly = r.ValidateOnly
	for name, level := range r.Levels {
		update := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
		update.Feature, update.MaxVersionLevel, update.UpgradeType = name, level, 1
		if r.Downgrade {
			update.UpgradeType = 2
		}
		request.FeatureUpdates = append(request.FeatureUpdates, update)
	}
	response, err := request.RequestWith(ctx, p.client)
	if err != nil {
		return nil, err
	}
	results := object{}
	for name := range r.Levels {
		results[name] = response.ErrorCode
	}
	return object{"results": results}, nil
}
