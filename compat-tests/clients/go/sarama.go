package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// saramaProgram drives IBM's sarama. It has no operations for groups and administration: the
// scenarios ask it for records and transactions.
type saramaProgram struct {
	bootstrap     string
	producers     map[string]sarama.SyncProducer
	transactional sarama.SyncProducer
}

func saramaConfig() *sarama.Config {
	config := sarama.NewConfig()
	// The newest version that the library knows; its default is an old one, whose requests every
	// other client has left behind.
	config.Version = sarama.MaxVersion
	config.Producer.Return.Successes = true
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.MaxMessageBytes = largest
	config.Producer.Partitioner = func(topic string) sarama.Partitioner {
		return saramaPartitioner{sarama.NewHashPartitioner(topic)}
	}
	return config
}

// saramaPartitioner sends a record to the partition that it names, if any.
type saramaPartitioner struct{ sarama.Partitioner }

func (p saramaPartitioner) Partition(message *sarama.ProducerMessage, count int32) (int32, error) {
	if named, ok := message.Metadata.(int32); ok {
		return named, nil
	}
	return p.Partitioner.Partition(message, count)
}

func (p *saramaProgram) answer(r *request) (object, error) {
	switch r.Op {
	case "produce":
		return p.produce(r)
	case "consume":
		return p.consume(r)
	case "init_transactions":
		return object{}, p.initTransactions(r)
	case "begin_transaction":
		return object{}, p.transactional.BeginTxn()
	case "send":
		return saramaSend(p.transactional, r)
	case "send_offsets":
		return object{}, p.sendOffsets(r)
	case "commit_transaction":
		return object{}, p.transactional.CommitTxn()
	case "abort_transaction":
		return object{}, p.transactional.AbortTxn()
	default:
		return nil, refusal{unsupported, r.Op + " is not asked of sarama"}
	}
}

func (p *saramaProgram) produce(r *request) (object, error) {
	settings := fmt.Sprint(r.Codec, r.Acks, r.Idempotent, r.LingerMs)
	if p.producers[settings] == nil {
		config := saramaConfig()
		if err := config.Producer.Compression.UnmarshalText([]byte(r.Codec)); err != nil {
			return nil, err
		}
		config.Producer.RequiredAcks = sarama.RequiredAcks(int16(r.Acks))
		config.Producer.Flush.Frequency = time.Duration(r.LingerMs) * time.Millisecond
		if config.Producer.Idempotent = r.Idempotent; r.Idempotent {
			config.Net.MaxOpenRequests = 1
		}
		producer, err := sarama.NewSyncProducer([]string{p.bootstrap}, config)
		if err != nil {
			return nil, err
		}
		p.producers[settings] = producer
	}
	return saramaSend(p.producers[settings], r)
}

func saramaSend(producer sarama.SyncProducer, r *request) (object, error) {
	messages := make([]*sarama.ProducerMessage, len(r.Records))
	for index, d := range r.Records {
		message := &sarama.ProducerMessage{Topic: r.Topic}
		if d.Key != nil {
			message.Key = sarama.ByteEncoder(unhex(d.Key))
		}
		if d.Value != nil {
			message.Value = sarama.ByteEncoder(unhex(d.Value))
		}
		for _, h := range d.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(h.Name), Value: unhex(h.Value)})
		}
		if d.Partition != nil {
			message.Metadata = *d.Partition
		}
		if d.Timestamp != nil {
			message.Timestamp = time.UnixMilli(*d.Timestamp)
		}
		messages[index] = message
	}
	failed := map[*sarama.ProducerMessage]error{}
	if err := producer.SendMessages(messages); err != nil {
		each, ok := err.(sarama.ProducerErrors)
		if !ok {
			return nil, err
		}
		for _, one := range each {
			failed[one.Msg] = one.Err
		}
	}
	acks := []object{}
	for _, message := range messages {
		if err := failed[message]; err != nil {
			fmt.Fprintln(os.Stderr, "produce:", err)
			acks = append(acks, object{"partition": -1, "offset": -1, "error": code(err)})
			continue
		}
		acks = append(acks, object{"partition": message.Partition, "offset": message.Offset})
	}
	return object{"acks": acks}, nil
}

func (p *saramaProgram) initTransactions(r *request) error {
	config := saramaConfig()
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1
	config.Producer.Transaction.ID = r.ID
	if r.TimeoutMs > 0 {
		config.Producer.Transaction.Timeout = time.Duration(r.TimeoutMs) * time.Millisecond
	}
	producer, err := sarama.NewSyncProducer([]string{p.bootstrap}, config)
	if err == nil {
		p.transactional = producer
	}
	return err
}

func (p *saramaProgram) sendOffsets(r *request) error {
	offsets, err := parseOffsets(r.Offsets)
	if err != nil {
		return err
	}
	positions := map[string][]*sarama.PartitionOffsetMetadata{}
	for _, o := range offsets.Sorted() {
		metadata := o.Metadata
		positions[o.Topic] = append(positions[o.Topic],
			&sarama.PartitionOffsetMetadata{Partition: o.Partition, Offset: o.At, LeaderEpoch: -1, Metadata: &metadata})
	}
	return p.transactional.AddOffsetsToTxn(positions, r.Group)
}

func (p *saramaProgram) consume(r *request) (object, error) {
	var places []place
	if err := json.Unmarshal(r.Partitions, &places); err != nil {
		return nil, err
	}
	config := saramaConfig()
	config.Consumer.Return.Errors = true
	config.Consumer.MaxWaitTime = 200 * time.Millisecond
	if r.Isolation == "read_committed" {
		config.Consumer.IsolationLevel = sarama.ReadCommitted
	}
	consumer, err := sarama.NewConsumer([]string{p.bootstrap}, config)
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	from := sarama.OffsetOldest
	if string(r.From) != `"earliest"` {
		if err := json.Unmarshal(r.From, &from); err != nil {
			return nil, refusal{unsupported, "timestamps are not asked of sarama"}
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.TimeoutMs)*time.Millisecond)
	defer cancel()
	found := make(chan *sarama.ConsumerMessage)
	var reading sync.WaitGroup
	for _, where := range places {
		partition, err := consumer.ConsumePartition(where.Topic, where.Partition, from)
		if err != nil {
			return nil, err
		}
		defer partition.Close()
		reading.Go(func() {
			for {
				select {
				case message := <-partition.Messages():
					select {
					case found <- message:
					case <-ctx.Done():
						return
					}
				case <-ctx.Done():
					return
				}
			}
		})
	}
	records := []object{}
	for len(records) < r.Count && ctx.Err() == nil {
		select {
		case message := <-found:
			records = append(records, saramaWhole(message))
		case <-ctx.Done():
		}
	}
	cancel()
	reading.Wait()
	return object{"records": records}, nil
}

func saramaWhole(message *sarama.ConsumerMessage) object {
	headers := [][]any{}
	for _, h := range message.Headers {
		headers = append(headers, []any{string(h.Key), hexed(h.Value)})
	}
	return object{"topic": message.Topic, "partition": message.Partition, "offset": message.Offset,
		"timestamp": message.Timestamp.UnixMilli(), "timestamp_type": -1,
		"key": hexed(message.Key), "value": hexed(message.Value), "headers": headers}
}
