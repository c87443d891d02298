package kafka

import (
	"context"
	"regexp"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// ListTransactions (key 66), versions 0 to 2.
//
//	v1  only those that are open for longer than a duration
//	v2  only those whose transactional id matches a pattern, as a whole (KIP-1152)
//
// Every node lists all of them; Kafka's coordinators list their own each, and clients take the union.

// transactionStates are Kafka's. Some are never seen here.
var transactionStates = []string{
	"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence",
}

func handleListTransactions(ctx context.Context, call *call, r *kmsg.ListTransactionsRequest) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	response := kmsg.NewPtrListTransactionsResponse()
	var pattern *regexp.Regexp
	if r.Version >= 2 && r.TransactionalIDPattern != nil && *r.TransactionalIDPattern != "" {
		var err error
		if pattern, err = regexp.Compile(`\A(?:` + *r.TransactionalIDPattern + `)\z`); err != nil {
			response.ErrorCode = kerr.InvalidRegularExpression.Code
			return response, nil
		}
	}
	if call.domain().Metadata.Barrier(ctx) != nil {
		response.ErrorCode = kerr.CoordinatorNotAvailable.Code
		return response, nil
	}
	for _, state := range r.StateFilters {
		if !slices.Contains(transactionStates, state) {
			response.UnknownStateFilters = append(response.UnknownStateFilters, state)
		}
	}
	call.domain().Metadata.View(func(s *meta.State) {
		s.Transactions(func(t meta.Transaction) bool {
			if listsTransaction(r, &t, s.TimeMillis(), pattern) && call.mayTransactionalID(Describe, t.ID) == nil {
				response.TransactionStates = append(response.TransactionStates, kmsg.ListTransactionsResponseTransactionState{
					TransactionalID: t.ID, ProducerID: t.ProducerID, TransactionState: t.State.String(),
				})
			}
			return true
		})
	})
	return response, nil
}

func listsTransaction(r *kmsg.ListTransactionsRequest, t *meta.Transaction, nowMillis int64, pattern *regexp.Regexp) bool {
	switch {
	case len(r.StateFilters) > 0 && !slices.Contains(r.StateFilters, t.State.String()):
		return false
	case len(r.ProducerIDFilters) > 0 && !slices.Contains(r.ProducerIDFilters, t.ProducerID):
		return false
	case r.Version >= 1 && r.DurationFilterMillis >= 0 && nowMillis-t.StartMillis <= r.DurationFilterMillis:
		return false
	}
	return pattern == nil || pattern.MatchString(t.ID)
}
