package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/varvelog/varve/services/conformance/clients/golang/check"
)

// withAdmin gives a check an administration client.
func withAdmin(brokers string, run func(sarama.ClusterAdmin) error) error {
	a, err := sarama.NewClusterAdmin([]string{brokers}, sarama.NewConfig())
	if err != nil {
		return err
	}
	return errors.Join(run(a), a.Close())
}

func adminTopics(_ context.Context, brokers string) error {
	return withAdmin(brokers, func(a sarama.ClusterAdmin) error {
		retention := "86400000"
		detail := &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1, ConfigEntries: map[string]*string{"retention.ms": &retention}}
		if err := a.CreateTopic("administered", detail, false); err != nil {
			return err
		}
		if err := a.CreateTopic("administered", detail, false); !errors.Is(err, sarama.ErrTopicAlreadyExists) {
			return fmt.Errorf("created twice: %w", err)
		}
		if err := a.CreatePartitions("administered", 5, nil, false); err != nil {
			return err
		}
		described, err := a.DescribeTopics([]string{"administered"})
		if err = errors.Join(err, check.Want("partitions", len(described[0].Partitions), 5)); err != nil {
			return err
		}
		listed, err := a.ListTopics()
		if err != nil {
			return err
		}
		if d := listed["administered"]; d.NumPartitions != 5 || d.ConfigEntries["retention.ms"] == nil || *d.ConfigEntries["retention.ms"] != retention {
			return fmt.Errorf("listed: %v", d)
		}
		if err := a.DeleteTopic("administered"); err != nil {
			return err
		}
		listed, err = a.ListTopics()
		_, there := listed["administered"]
		brokers, _, err2 := a.DescribeCluster()
		return errors.Join(err, err2, check.Want("there after its deletion", there, false), check.Want("nodes", len(brokers), 1))
	})
}

func adminConfigs(_ context.Context, brokers string) error {
	return withAdmin(brokers, func(a sarama.ClusterAdmin) error {
		for _, want := range []string{"123456789", "604800000"} {
			entry := sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &want}
			if want == "604800000" {
				entry = sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationDelete}
			}
			if err := a.IncrementalAlterConfig(sarama.TopicResource, "gzip", map[string]sarama.IncrementalAlterConfigsEntry{"retention.ms": entry}, false); err != nil {
				return err
			}
			entries, err := a.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: "gzip", ConfigNames: []string{"retention.ms"}})
			if err = errors.Join(err, check.Want("entries", len(entries), 1)); err != nil {
				return err
			}
			if err := check.Want("retention.ms", entries[0].Value, want); err != nil {
				return err
			}
		}
		return nil
	})
}

func adminGroups(ctx context.Context, brokers string) error {
	return withAdmin(brokers, func(a sarama.ClusterAdmin) error {
		err := inGroup(ctx, brokers, "described", "gzip", 100, func([]*sarama.ConsumerMessage) error {
			described, err := a.DescribeConsumerGroups([]string{"described"})
			if err = errors.Join(err, check.Want("state", described[0].State, "Stable"), check.Want("members", len(described[0].Members), 1)); err != nil {
				return err
			}
			for _, m := range described[0].Members {
				assignment, err := m.GetMemberAssignment()
				if err = errors.Join(err, check.Want("assigned", len(assignment.Topics["gzip"]), 1)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		groups, err := a.ListConsumerGroups()
		if err = errors.Join(err, check.Want("protocol type", groups["described"], "consumer")); err != nil {
			return err
		}
		offsets, err := a.ListConsumerGroupOffsets("described", nil)
		if err = errors.Join(err, check.Want("offset", offsets.GetBlock("gzip", 0).Offset, 100)); err != nil {
			return err
		}
		if err := a.DeleteConsumerGroup("described"); err != nil {
			return err
		}
		if err := a.DeleteConsumerGroup("described"); !errors.Is(err, sarama.ErrGroupIDNotFound) {
			return fmt.Errorf("deleted twice: %w", err)
		}
		return nil
	})
}

func adminOffsets(_ context.Context, brokers string) error {
	return withAdmin(brokers, func(a sarama.ClusterAdmin) error {
		for _, l := range []struct{ at, want int64 }{{sarama.OffsetOldest, 0}, {sarama.OffsetNewest, 100}, {check.FirstTimestamp + 10, 10}} {
			got, err := a.ListOffsets(map[string]map[int32]int64{"gzip": {0: l.at}}, nil)
			if err != nil {
				return err
			}
			if r := got["gzip"][0]; !errors.Is(r.Err, sarama.ErrNoError) || r.Offset != l.want {
				return fmt.Errorf("offset of %d: %+v, want %d", l.at, r, l.want)
			}
		}
		if _, err := a.AlterConsumerGroupOffsets("set", map[string]map[int32]sarama.OffsetAndMetadata{"gzip": {0: {Offset: 42, LeaderEpoch: -1}}}, nil); err != nil {
			return err
		}
		offsets, err := a.ListConsumerGroupOffsets("set", map[string][]int32{"gzip": {0}})
		if err != nil {
			return err
		}
		return check.Want("committed", offsets.GetBlock("gzip", 0).Offset, 42)
	})
}

func adminDeleteRecords(_ context.Context, brokers string) error {
	return withAdmin(brokers, func(a sarama.ClusterAdmin) error {
		if err := a.DeleteRecords("snappy", map[int32]int64{0: 30}); err != nil {
			return err
		}
		got, err := a.ListOffsets(map[string]map[int32]int64{"snappy": {0: sarama.OffsetOldest}}, nil)
		if err != nil {
			return err
		}
		return check.Want("start", got["snappy"][0].Offset, 30)
	})
}
