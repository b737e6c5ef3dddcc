package main

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var errNotCommitted = errors.New("the transaction was aborted instead: the member has lost partitions")

// transact executes the operations of the transactional producer. A member that was subscribed with
// a transactional id ties both together: the library then commits the positions with each
// transaction, and send_offsets has nothing left to do.
func (p *program) transact(ctx context.Context, r *request) (object, error) {
	switch r.Op {
	case "init_transactions":
		return object{}, p.initTransactions(ctx, r)
	case "begin_transaction":
		if p.session != nil {
			return object{}, p.session.Begin()
		}
		return object{}, p.transactional.BeginTransaction()
	case "send":
		return send(ctx, p.transactional, r)
	case "send_offsets":
		if p.session == nil {
			return nil, refusal{unsupported, "offsets without a member are not in this library"}
		}
		return object{}, nil
	case "commit_transaction":
		return object{}, p.end(ctx, kgo.TryCommit)
	default:
		return object{}, p.end(ctx, kgo.TryAbort)
	}
}

func (p *program) initTransactions(ctx context.Context, r *request) error {
	if p.session == nil {
		if p.transactional != nil {
			p.transactional.Close()
		}
		options := []kgo.Opt{kgo.SeedBrokers(p.bootstrap), kgo.TransactionalID(r.ID), kgo.AllowAutoTopicCreation(),
			kgo.RecordPartitioner(explicit{kgo.StickyKeyPartitioner(nil)})}
		if r.TimeoutMs > 0 {
			options = append(options, kgo.TransactionTimeout(time.Duration(r.TimeoutMs)*time.Millisecond))
		}
		client, err := kgo.NewClient(options...)
		if err != nil {
			return err
		}
		p.transactional = client
	}
	_, _, err := p.transactional.ProducerID(ctx)
	return err
}

func (p *program) end(ctx context.Context, how kgo.TransactionEndTry) error {
	if p.session != nil {
		committed, err := p.session.End(ctx, how)
		if err == nil && how == kgo.TryCommit && !committed {
			return errNotCommitted
		}
		return err
	}
	if how == kgo.TryAbort {
		if err := p.transactional.AbortBufferedRecords(ctx); err != nil {
			return err
		}
	} else if err := p.transactional.Flush(ctx); err != nil {
		return err
	}
	return p.transactional.EndTransaction(ctx, how)
}
