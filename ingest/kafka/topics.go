package kafka

import (
	"context"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/coordinator/meta"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/ingest/copies"
)

// Creating topics, for CreateTopics and for Metadata's auto-creation.

const (
	durabilityConfig        = "varve.durability"
	minInsyncReplicasConfig = "min.insync.replicas"
)

// newTopicCommand makes the command that creates a topic, with its class resolved: what is stored with the topic does not change
// with the cluster's size.
func newTopicCommand(call *call, name string, partitions int32, configs []*metapb.ConfigEntry) *metapb.CreateTopic {
	id := uuid.New()
	command := &metapb.CreateTopic{
		Name: name, TopicId: id[:], Partitions: partitions, Configs: configs, MaxPartitions: call.server().config.MaxPartitions,
	}
	class := call.defaultDurability()
	for _, c := range configs {
		switch n, err := strconv.Atoi(c.Value); {
		case c.Name == durabilityConfig:
			return command
		case c.Name == minInsyncReplicasConfig && err == nil && n > 1:
			class = "object" // the bucket has the copies that are asked for; one node's disk has one
		}
	}
	command.Configs = append(command.Configs, &metapb.ConfigEntry{Name: durabilityConfig, Value: class})
	return command
}

// unmetDurability refuses a topic of the class replicated where no second node could have copies: producing to it would fail. Kafka
// refuses a replication factor above the number of brokers by the same code. A node may have come of which this one has not heard yet.
func unmetDurability(ctx context.Context, call *call, command *metapb.CreateTopic) (*kerr.Error, string) {
	for _, c := range command.Configs {
		if c.Name != durabilityConfig || c.Value != "replicated" {
			continue
		}
		met := func() (met bool) {
			call.domain().Metadata.View(func(s *meta.State) { met = copies.Met(s) })
			return met
		}
		if met() {
			continue
		}
		if err := call.domain().Metadata.Barrier(ctx); err != nil {
			return proposalError(err, kerr.NotController), err.Error()
		}
		if !met() {
			return kerr.InvalidReplicationFactor, "varve.durability=replicated needs two live ingest nodes, in different zones where zones are set."
		}
	}
	return nil, ""
}

func (c *call) defaultDurability() string {
	class := c.server().config.DefaultDurability
	if class == metapb.Durability_DURABILITY_UNSPECIFIED {
		class = metapb.Durability_DURABILITY_LOCAL
		if c.server().catalog.isCluster() {
			class = metapb.Durability_DURABILITY_OBJECT
		}
	}
	switch class {
	case metapb.Durability_DURABILITY_REPLICATED:
		return "replicated"
	case metapb.Durability_DURABILITY_OBJECT:
		return "object"
	default:
		return "local"
	}
}

const autoCreateTimeout = 10 * time.Second

// autoCreateTopic creates a topic that a client has named, if the cluster does so.
func autoCreateTopic(ctx context.Context, call *call, name string) *kerr.Error {
	var cluster meta.ClusterConfig
	call.domain().Metadata.View(func(s *meta.State) { cluster = s.Cluster() })
	if !cluster.AutoCreateTopics {
		return kerr.UnknownTopicOrPartition
	}
	ctx, cancel := context.WithTimeout(ctx, autoCreateTimeout)
	defer cancel()
	command := newTopicCommand(call, name, cluster.NumPartitions, nil)
	verdict, err := call.propose(ctx, &metapb.Command{Kind: &metapb.Command_CreateTopic{CreateTopic: command}})
	switch {
	case err != nil:
		return kerr.LeaderNotAvailable // the client asks again
	case verdict.Code == meta.TopicExists:
		return nil
	default:
		return codeError(verdict.Code)
	}
}

// propose puts a command in the log.
func (c *call) propose(ctx context.Context, command *metapb.Command) (meta.Verdict, error) {
	return c.domain().Metadata.Propose(ctx, command)
}

const maxClientTimeout = 5 * time.Minute

// boundedTimeout is what a client asked for, between a moment and maxClientTimeout.
func boundedTimeout(millis int32) time.Duration {
	return min(max(time.Duration(millis)*time.Millisecond, time.Millisecond), maxClientTimeout)
}

// refusal is an error as answers carry it: code and message. A nil error is success.
func refusal(e *kerr.Error, message string) (int16, *string) {
	switch e {
	case nil:
		return 0, nil
	case kerr.UnknownServerError:
		return e.Code, nil // nobody is told what went on within
	}
	if message == "" {
		message = e.Description
	}
	return e.Code, &message
}

const parallelProposals = 16

// inParallel calls f for 0 to n-1, a bounded number at a time: proposals that wait together are committed together.
func inParallel(n int, f func(i int)) {
	var group errgroup.Group
	group.SetLimit(parallelProposals)
	for i := range n {
		group.Go(func() error {
			f(i)
			return nil
		})
	}
	_ = group.Wait() //nolint:errcheck // f returns none
}
