// Command client drives a Go library against a broker: see ../README.md for the operations.
//
//	client LIBRARY BOOTSTRAP
//
// LIBRARY is franz, sarama or kafka-go. Everything that is not in a file of another library drives
// franz-go.
package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/IBM/sarama"
	"github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	largest     = 16 << 20
	unsupported = 35
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

type object = map[string]any

type header struct {
	Name  string
	Value *string
}

func (h *header) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&h.Name, &h.Value})
}

type draft struct {
	Partition *int32
	Key       *string
	Value     *string
	Headers   []header
	Timestamp *int64
}

type place struct {
	Topic     string
	Partition int32
}

func (p *place) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&p.Topic, &p.Partition})
}

// request has the fields of every operation.
type request struct {
	Op           string
	ID           string
	Topic        string
	Codec        string
	Acks         int
	Idempotent   bool
	LingerMs     int `json:"linger_ms"`
	Records      []draft
	Partitions   json.RawMessage
	From         json.RawMessage
	Count        int
	TimeoutMs    int `json:"timeout_ms"`
	Partition    int32
	At           int64
	Group        string
	Topics       json.RawMessage
	Strategy     string
	Instance     string
	Reset        string
	SessionMs    int `json:"session_ms"`
	Ms           int
	Offsets      []json.RawMessage
	Levels       map[string]int16
	Downgrade    bool
	ValidateOnly bool `json:"validate_only"`
	Type         string
	Name         string
	Configs      map[string]string
	Set          map[string]string
	Delete       []string
	Before       int64
	Groups       []string
	Epoch        int32
	ProducerID   int64 `json:"producer_id"`
	Isolation    string
	Protocol     string
	Assignor     string
	Regex        string
	// TransactionalID makes a member of a transactional producer's group.
	TransactionalID string `json:"transactional_id"`
}

type program struct {
	bootstrap string
	producers map[string]*kgo.Client
	// transactional is the client of the transactional producer, and session the one of a member
	// that produces with its offsets.
	transactional *kgo.Client
	session       *kgo.GroupTransactSession
	client        *kgo.Client
	admin         *kadm.Client
	member        *member
}

// library executes the operations with one of the libraries.
type library interface {
	answer(r *request) (object, error)
}

func open(name, bootstrap string) library {
	switch name {
	case "franz":
		return &program{bootstrap: bootstrap, producers: map[string]*kgo.Client{}}
	case "sarama":
		return &saramaProgram{bootstrap: bootstrap, producers: map[string]sarama.SyncProducer{}}
	case "kafka-go":
		return &kafkaGoProgram{bootstrap: bootstrap}
	default:
		panic(name + " is no library") // the harness names it
	}
}

func main() {
	p := open(os.Args[1], os.Args[2])
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var r request
		var answer object
		if err := json.Unmarshal(line, &r); err != nil {
			answer = object{"code": -1, "message": err.Error()}
		} else if ok, err := p.answer(&r); err != nil {
			answer = object{"code": code(err), "message": err.Error()}
		} else {
			answer = object{"ok": ok}
		}
		if out.Encode(answer) != nil {
			return
		}
	}
}

func (p *program) answer(r *request) (object, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Second)
	defer cancel()
	switch r.Op {
	case "produce":
		return p.produce(ctx, r)
	case "init_transactions", "begin_transaction", "send", "send_offsets", "commit_transaction", "abort_transaction":
		return p.transact(ctx, r)
	case "consume":
		return p.consume(ctx, r)
	case "subscribe", "poll", "commit", "committed", "leave":
		return p.group(ctx, r)
	default:
		return p.administer(ctx, r)
	}
}

// refusal is an operation that a program does not execute.
type refusal struct {
	code    int16
	message string
}

func (r refusal) Error() string { return r.message }

func code(err error) int16 {
	var (
		refused  *kerr.Error
		ours     refusal
		ofSarama sarama.KError
		ofKafka  kafka.Error
	)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &refused):
		return refused.Code
	case errors.As(err, &ours):
		return ours.code
	case errors.As(err, &ofSarama):
		return int16(ofSarama)
	case errors.As(err, &ofKafka):
		return int16(ofKafka)
	default:
		return -1
	}
}

func unhex(text *string) []byte {
	if text == nil {
		return nil
	}
	data, err := hex.DecodeString(*text)
	if err != nil {
		panic(err) // the harness writes it
	}
	return data
}

func hexed(data []byte) any {
	if data == nil {
		return nil
	}
	return hex.EncodeToString(data)
}

func (p *program) producer(r *request) (*kgo.Client, error) {
	settings := fmt.Sprint(r.Codec, r.Acks, r.Idempotent, r.LingerMs)
	if client, ok := p.producers[settings]; ok {
		return client, nil
	}
	acks := map[int]kgo.Acks{-1: kgo.AllISRAcks(), 0: kgo.NoAck(), 1: kgo.LeaderAck()}[r.Acks]
	options := []kgo.Opt{
		kgo.SeedBrokers(p.bootstrap), kgo.ProducerBatchCompression(codecs[r.Codec]), kgo.RequiredAcks(acks),
		kgo.ProducerLinger(time.Duration(r.LingerMs) * time.Millisecond), kgo.ProducerBatchMaxBytes(largest),
		kgo.AllowAutoTopicCreation(),
		kgo.RecordPartitioner(explicit{kgo.StickyKeyPartitioner(nil)}),
	}
	if !r.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client, err := kgo.NewClient(options...)
	if err == nil {
		p.producers[settings] = client
	}
	return client, err
}

// explicit sends a record to the partition that it names, if any.
type explicit struct{ kgo.Partitioner }

type explicitTopic struct{ kgo.TopicPartitioner }

func (e explicit) ForTopic(topic string) kgo.TopicPartitioner {
	return explicitTopic{e.Partitioner.ForTopic(topic)}
}

func (explicitTopic) RequiresConsistency(*kgo.Record) bool { return true }

func (e explicitTopic) Partition(r *kgo.Record, n int) int {
	if r.Partition >= 0 {
		return int(r.Partition)
	}
	return e.TopicPartitioner.Partition(r, n)
}

func (p *program) produce(ctx context.Context, r *request) (object, error) {
	client, err := p.producer(r)
	if err != nil {
		return nil, err
	}
	return send(ctx, client, r)
}

// send produces the request's records, and waits for what becomes of each.
func send(ctx context.Context, client *kgo.Client, r *request) (object, error) {
	records := make([]*kgo.Record, 0, len(r.Records))
	for _, d := range r.Records {
		record := &kgo.Record{Topic: r.Topic, Key: unhex(d.Key), Value: unhex(d.Value), Partition: -1}
		for _, h := range d.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.Name, Value: unhex(h.Value)})
		}
		if d.Partition != nil {
			record.Partition = *d.Partition
		}
		if d.Timestamp != nil {
			record.Timestamp = time.UnixMilli(*d.Timestamp)
		}
		records = append(records, record)
	}
	acks := []object{}
	done := map[*kgo.Record]error{}
	for _, result := range client.ProduceSync(ctx, records...) {
		done[result.Record] = result.Err
	}
	for _, record := range records {
		if err := done[record]; err != nil {
			fmt.Fprintln(os.Stderr, "produce:", err)
			acks = append(acks, object{"partition": -1, "offset": -1, "error": code(err)})
			continue
		}
		acks = append(acks, object{"partition": record.Partition, "offset": record.Offset})
	}
	return object{"acks": acks}, nil
}

func start(from json.RawMessage) (kgo.Offset, error) {
	var number int64
	var at struct{ Timestamp int64 }
	switch {
	case string(from) == `"earliest"`:
		return kgo.NewOffset().AtStart(), nil
	case json.Unmarshal(from, &number) == nil:
		return kgo.NewOffset().At(number), nil
	default:
		err := json.Unmarshal(from, &at)
		return kgo.NewOffset().AfterMilli(at.Timestamp), err
	}
}

// isolation is the level that the request names, or the library's default.
func isolation(r *request) kgo.Opt {
	if r.Isolation == "read_committed" {
		return kgo.FetchIsolationLevel(kgo.ReadCommitted())
	}
	return kgo.FetchIsolationLevel(kgo.ReadUncommitted())
}

func (p *program) consume(ctx context.Context, r *request) (object, error) {
	from, err := start(r.From)
	if err != nil {
		return nil, err
	}
	var places []place
	if err := json.Unmarshal(r.Partitions, &places); err != nil {
		return nil, err
	}
	assigned := map[string]map[int32]kgo.Offset{}
	for _, where := range places {
		if assigned[where.Topic] == nil {
			assigned[where.Topic] = map[int32]kgo.Offset{}
		}
		assigned[where.Topic][where.Partition] = from
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(p.bootstrap), kgo.ConsumePartitions(assigned),
		kgo.FetchMaxPartitionBytes(largest), kgo.FetchMaxBytes(64<<20), kgo.FetchMaxWait(200*time.Millisecond),
		isolation(r))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(r.TimeoutMs)*time.Millisecond)
	defer cancel()
	records := []object{}
	for len(records) < r.Count && ctx.Err() == nil {
		fetches := client.PollFetches(ctx)
		for _, failed := range fetches.Errors() {
			if ctx.Err() == nil {
				return nil, failed.Err
			}
		}
		fetches.EachRecord(func(record *kgo.Record) {
			if len(records) < r.Count {
				records = append(records, whole(record))
			}
		})
	}
	return object{"records": records}, nil
}

func whole(record *kgo.Record) object {
	headers := [][]any{}
	for _, h := range record.Headers {
		headers = append(headers, []any{h.Key, hexed(h.Value)})
	}
	return object{"topic": record.Topic, "partition": record.Partition, "offset": record.Offset,
		"timestamp": record.Timestamp.UnixMilli(), "timestamp_type": record.Attrs.TimestampType(),
		"key": hexed(record.Key), "value": hexed(record.Value), "headers": headers}
}
