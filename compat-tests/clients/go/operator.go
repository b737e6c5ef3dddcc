package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
)

// operate executes the administrative operations on transactions.
func (p *program) operate(ctx context.Context, r *request) (object, error) {
	switch r.Op {
	case "list_transactions":
		return p.listTransactions(ctx)
	case "describe_transaction":
		return p.describeTransaction(ctx, r.ID)
	case "describe_producers":
		return p.describeProducers(ctx, r)
	default:
		return object{}, p.abortByMarker(ctx, r)
	}
}

func (p *program) listTransactions(ctx context.Context) (object, error) {
	found, err := p.admin.ListTransactions(ctx, nil, nil)
	transactions := [][]any{}
	for _, one := range found.Sorted() {
		transactions = append(transactions, []any{one.TxnID, one.ProducerID, one.State})
	}
	return object{"transactions": transactions}, err
}

func (p *program) describeTransaction(ctx context.Context, id string) (object, error) {
	found, err := p.admin.DescribeTransactions(ctx, id)
	if err != nil {
		return nil, err
	}
	one := found[id]
	partitions := [][]any{}
	for _, of := range one.Topics.Sorted() {
		for _, partition := range of.Partitions {
			partitions = append(partitions, []any{of.Topic, partition})
		}
	}
	return object{"producer_id": one.ProducerID, "epoch": one.ProducerEpoch, "state": one.State,
		"partitions": partitions}, one.Err
}

func (p *program) describeProducers(ctx context.Context, r *request) (object, error) {
	set := kadm.TopicsSet{}
	set.Add(r.Topic, r.Partition)
	found, err := p.admin.DescribeProducers(ctx, set)
	if err != nil {
		return nil, err
	}
	partition := found[r.Topic].Partitions[r.Partition]
	producers := [][]any{}
	for _, one := range partition.ActiveProducers.Sorted() {
		producers = append(producers, []any{one.ProducerID, one.ProducerEpoch, one.LastSequence,
			one.CurrentTxnStartOffset})
	}
	return object{"producers": producers}, partition.Err
}

func (p *program) abortByMarker(ctx context.Context, r *request) error {
	topics := kadm.TopicsSet{}
	topics.Add(r.Topic, r.Partition)
	done, err := p.admin.WriteTxnMarkers(ctx, kadm.TxnMarkers{ProducerID: r.ProducerID,
		ProducerEpoch: int16(r.Epoch), Topics: topics})
	if err != nil {
		return err
	}
	return done[r.ProducerID].Topics[r.Topic].Partitions[r.Partition].Err
}
