package main

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// member is a member of a consumer group; the callbacks run on the client's own goroutines.
type member struct {
	client *kgo.Client
	group  string

	lock       sync.Mutex
	assigned   map[place]bool
	rebalances int
}

func (m *member) changed(partitions map[string][]int32, owned bool) {
	m.lock.Lock()
	defer m.lock.Unlock()
	m.rebalances++
	for topic, list := range partitions {
		for _, partition := range list {
			if owned {
				m.assigned[place{topic, partition}] = true
			} else {
				delete(m.assigned, place{topic, partition})
			}
		}
	}
}

func (p *program) group(ctx context.Context, r *request) (object, error) {
	switch r.Op {
	case "subscribe":
		return object{}, p.subscribe(r)
	case "poll":
		return p.poll(r)
	case "commit":
		return object{}, p.commit(ctx, r)
	case "committed":
		return p.committed(ctx, r)
	default:
		p.member.client.Close()
		p.member = nil
		return object{}, nil
	}
}

func (p *program) subscribe(r *request) error {
	var topics []string
	if r.Topics != nil {
		if err := json.Unmarshal(r.Topics, &topics); err != nil {
			return err
		}
	}
	balancer := map[string]kgo.GroupBalancer{"range": kgo.RangeBalancer(), "roundrobin": kgo.RoundRobinBalancer(),
		"sticky": kgo.StickyBalancer(), "cooperative": kgo.CooperativeStickyBalancer()}[r.Strategy]
	reset := kgo.NewOffset().AtStart()
	if r.Reset == "latest" {
		reset = kgo.NewOffset().AtEnd()
	}
	session := time.Duration(r.SessionMs) * time.Millisecond
	m := &member{group: r.Group, assigned: map[place]bool{}}
	owned := func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) { m.changed(partitions, true) }
	gone := func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) { m.changed(partitions, false) }
	options := []kgo.Opt{kgo.SeedBrokers(p.bootstrap), kgo.ConsumerGroup(r.Group), kgo.ConsumeTopics(topics...),
		kgo.Balancers(balancer), kgo.ConsumeResetOffset(reset), kgo.SessionTimeout(session), kgo.RebalanceTimeout(10 * time.Second),
		kgo.HeartbeatInterval(max(100*time.Millisecond, session/10)), kgo.DisableAutoCommit(),
		kgo.MetadataMaxAge(time.Second), kgo.MetadataMinAge(100 * time.Millisecond), kgo.FetchMaxWait(200 * time.Millisecond),
		kgo.OnPartitionsAssigned(owned), kgo.OnPartitionsRevoked(gone), kgo.OnPartitionsLost(gone)}
	if r.Instance != "" {
		options = append(options, kgo.InstanceID(r.Instance))
	}
	options = append(options, isolation(r))
	if r.Protocol == "consumer" {
		options = append(options, kgo.ServerSideBalancer())
		if r.Assignor == "uniform" {
			options = append(options, kgo.Balancers(kgo.StickyBalancer()))
		}
	}
	if r.Regex != "" {
		options = append(options, kgo.ConsumeRegex(), kgo.ConsumeTopics(r.Regex))
	}
	p.member = m
	if r.TransactionalID != "" {
		options = append(options, kgo.TransactionalID(r.TransactionalID), kgo.AllowAutoTopicCreation(),
			kgo.RecordPartitioner(explicit{kgo.StickyKeyPartitioner(nil)}))
		session, err := kgo.NewGroupTransactSession(options...)
		if err != nil {
			return err
		}
		p.session, p.transactional, m.client = session, session.Client(), session.Client()
		return nil
	}
	client, err := kgo.NewClient(options...)
	m.client = client
	return err
}

func (p *program) poll(r *request) (object, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.Ms)*time.Millisecond)
	defer cancel()
	records := [][]any{}
	for ctx.Err() == nil {
		fetches := p.member.client.PollFetches(ctx)
		for _, failed := range fetches.Errors() {
			if ctx.Err() == nil {
				return nil, failed.Err
			}
		}
		fetches.EachRecord(func(record *kgo.Record) {
			records = append(records, []any{record.Topic, record.Partition, record.Offset, hexed(record.Value)})
		})
	}
	p.member.lock.Lock()
	defer p.member.lock.Unlock()
	assigned := [][]any{}
	for where := range p.member.assigned {
		assigned = append(assigned, []any{where.Topic, where.Partition})
	}
	return object{"records": records, "assigned": assigned, "rebalances": p.member.rebalances}, nil
}

func parseOffsets(list []json.RawMessage) (kadm.Offsets, error) {
	var offsets kadm.Offsets
	for _, raw := range list {
		o := kadm.Offset{LeaderEpoch: -1}
		if err := json.Unmarshal(raw, &[]any{&o.Topic, &o.Partition, &o.At, &o.Metadata}); err != nil {
			return nil, err
		}
		offsets.Add(o)
	}
	return offsets, nil
}

func (p *program) commit(ctx context.Context, r *request) error {
	if r.Offsets == nil {
		return p.member.client.CommitUncommittedOffsets(ctx)
	}
	offsets, err := parseOffsets(r.Offsets)
	if err != nil {
		return err
	}
	// As a member, with its generation; the library has no place for metadata here.
	positions := map[string]map[int32]kgo.EpochOffset{}
	offsets.Each(func(o kadm.Offset) {
		if positions[o.Topic] == nil {
			positions[o.Topic] = map[int32]kgo.EpochOffset{}
		}
		positions[o.Topic][o.Partition] = kgo.EpochOffset{Epoch: -1, Offset: o.At}
	})
	var refused error
	p.member.client.CommitOffsetsSync(ctx, positions, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, response *kmsg.OffsetCommitResponse, err error) {
		refused = err
		if err != nil {
			return
		}
		for _, topic := range response.Topics {
			for _, partition := range topic.Partitions {
				refused = errors.Join(refused, kerr.ErrorForCode(partition.ErrorCode))
			}
		}
	})
	return refused
}

func (p *program) committed(ctx context.Context, r *request) (object, error) {
	var places []place
	if err := json.Unmarshal(r.Partitions, &places); err != nil {
		return nil, err
	}
	found, err := kadm.NewClient(p.member.client).FetchOffsets(ctx, p.member.group)
	if err != nil {
		return nil, err
	}
	offsets := [][]any{}
	for _, where := range places {
		at, metadata := int64(-1), ""
		if o, ok := found.Lookup(where.Topic, where.Partition); ok {
			at, metadata = o.At, o.Metadata
		}
		offsets = append(offsets, []any{where.Topic, where.Partition, at, metadata})
	}
	return object{"offsets": offsets}, nil
}
