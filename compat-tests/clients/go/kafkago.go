package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/segmentio/kafka-go"
)

// kafkaGoProgram drives Segment's kafka-go, which has no transactional producer: it reads committed
// records.
type kafkaGoProgram struct {
	bootstrap string
}

func (p *kafkaGoProgram) answer(r *request) (object, error) {
	if r.Op != "consume" {
		return nil, refusal{unsupported, r.Op + " is not asked of kafka-go"}
	}
	var places []place
	if err := json.Unmarshal(r.Partitions, &places); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(r.TimeoutMs)*time.Millisecond)
	defer cancel()
	records := []object{}
	// A reader has one partition.
	for _, where := range places {
		if err := p.read(ctx, r, where, &records); err != nil {
			return nil, err
		}
	}
	return object{"records": records}, nil
}

// read appends a partition's records, up to the count of the request or until the time of the
// request is over.
func (p *kafkaGoProgram) read(ctx context.Context, r *request, where place, records *[]object) error {
	from := kafka.FirstOffset
	if string(r.From) != `"earliest"` {
		if err := json.Unmarshal(r.From, &from); err != nil {
			return refusal{unsupported, "timestamps are not asked of kafka-go"}
		}
	}
	config := kafka.ReaderConfig{Brokers: []string{p.bootstrap}, Topic: where.Topic, Partition: int(where.Partition),
		MaxBytes: largest, MaxWait: 200 * time.Millisecond}
	if r.Isolation == "read_committed" {
		config.IsolationLevel = kafka.ReadCommitted
	}
	reader := kafka.NewReader(config)
	defer reader.Close()
	if err := reader.SetOffset(from); err != nil {
		return err
	}
	for len(*records) < r.Count {
		message, err := reader.ReadMessage(ctx)
		if errors.Is(err, context.DeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		headers := [][]any{}
		for _, h := range message.Headers {
			headers = append(headers, []any{h.Key, hexed(h.Value)})
		}
		*records = append(*records, object{"topic": message.Topic, "partition": message.Partition, "offset": message.Offset,
			"timestamp": message.Time.UnixMilli(), "timestamp_type": -1,
			"key": hexed(message.Key), "value": hexed(message.Value), "headers": headers})
	}
	return nil
}
