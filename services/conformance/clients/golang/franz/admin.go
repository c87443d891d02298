package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/conformance/clients/golang/check"
)

var discard = slog.New(slog.NewTextHandler(io.Discard, nil))

func newAdmin(brokers string) (*kadm.Client, error) {
	client, err := newClient(brokers)
	if err != nil {
		return nil, err
	}
	return kadm.NewClient(client), nil
}

func adminTopics(ctx context.Context, brokers string) error {
	a, err := newAdmin(brokers)
	if err != nil {
		return err
	}
	defer a.Close()
	if _, err := a.CreateTopic(ctx, 3, 1, map[string]*string{"retention.ms": kadm.StringPtr("86400000")}, "administered"); err != nil {
		return err
	}
	if _, err := a.CreateTopic(ctx, 3, 1, nil, "administered"); !errors.Is(err, kerr.TopicAlreadyExists) {
		return fmt.Errorf("created twice: %w", err)
	}
	grown, err := a.UpdatePartitions(ctx, 5, "administered")
	if err = errors.Join(err, grown.Error()); err != nil {
		return err
	}
	topics, err := a.ListTopics(ctx, "administered")
	if err = errors.Join(err, topics.Error(), check.Want("partitions", len(topics["administered"].Partitions), 5)); err != nil {
		return err
	}
	if _, err := a.DeleteTopic(ctx, "administered"); err != nil {
		return err
	}
	topics, err = a.ListTopics(ctx)
	if err != nil {
		return err
	}
	return check.Want("there after its deletion", topics.Has("administered"), false)
}

func adminConfigs(ctx context.Context, brokers string) error {
	a, err := newAdmin(brokers)
	if err != nil {
		return err
	}
	defer a.Close()
	for _, want := range []string{"123456789", "604800000"} {
		change := kadm.AlterConfig{Name: "retention.ms", Value: kadm.StringPtr(want)}
		if want == "604800000" {
			change = kadm.AlterConfig{Op: kadm.DeleteConfig, Name: "retention.ms"}
		}
		altered, err := a.AlterTopicConfigs(ctx, []kadm.AlterConfig{change}, "gzip")
		if err != nil || altered[0].Err != nil {
			return errors.Join(err, altered[0].Err)
		}
		configs, err := a.DescribeTopicConfigs(ctx, "gzip")
		if err != nil {
			return err
		}
		for _, c := range configs[0].Configs {
			if c.Key == "retention.ms" {
				if err := check.Want(c.Key, c.MaybeValue(), want); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func adminGroups(ctx context.Context, brokers string) error {
	client, err := newClient(brokers, kgo.ConsumerGroup("described"), kgo.ConsumeTopics("gzip"))
	if err != nil {
		return err
	}
	if _, err := read(ctx, client, 100); err != nil {
		return err
	}
	a, err := newAdmin(brokers)
	if err != nil {
		return err
	}
	defer a.Close()
	groups, err := a.DescribeGroups(ctx, "described")
	if err = errors.Join(err, groups.Error(), check.Want("state", groups["described"].State, "Stable"), check.Want("members", len(groups["described"].Members), 1)); err != nil {
		return err
	}
	assigned := groups.AssignedPartitions()
	if err := check.Want("partition 0 is assigned", assigned.Lookup("gzip", 0), true); err != nil {
		return err
	}
	client.Close()
	listed, err := a.ListGroups(ctx)
	if err = errors.Join(err, check.Want("listed", slices.Contains(listed.Groups(), "described"), true)); err != nil {
		return err
	}
	lag, err := a.Lag(ctx, "described")
	if err = errors.Join(err, lag.Error(), check.Want("lag", lag["described"].Lag.Total(), 0)); err != nil {
		return err
	}
	if _, err := a.DeleteGroup(ctx, "described"); err != nil {
		return err
	}
	_, err = a.DeleteGroup(ctx, "described")
	if !errors.Is(err, kerr.GroupIDNotFound) {
		return fmt.Errorf("deleted twice: %w", err)
	}
	return nil
}

func adminOffsets(ctx context.Context, brokers string) error {
	a, err := newAdmin(brokers)
	if err != nil {
		return err
	}
	defer a.Close()
	starts, err := a.ListStartOffsets(ctx, "gzip")
	ends, err2 := a.ListEndOffsets(ctx, "gzip")
	times, err3 := a.ListOffsetsAfterMilli(ctx, check.FirstTimestamp+10, "gzip")
	maxima, err4 := a.ListMaxTimestampOffsets(ctx, "gzip")
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return err
	}
	for _, l := range []struct {
		what    string
		offsets kadm.ListedOffsets
		want    int64
	}{{"start", starts, 0}, {"end", ends, 100}, {"by time", times, 10}, {"of the greatest timestamp", maxima, 99}} {
		o, _ := l.offsets.Lookup("gzip", 0)
		if err := errors.Join(l.offsets.Error(), check.Want(l.what, o.Offset, l.want)); err != nil {
			return err
		}
	}
	var offsets kadm.Offsets
	offsets.AddOffset("gzip", 0, 42, -1)
	if err := a.CommitAllOffsets(ctx, "set", offsets); err != nil {
		return err
	}
	got, err := a.FetchOffsets(ctx, "set")
	o, _ := got.Lookup("gzip", 0)
	return errors.Join(err, check.Want("committed", o.At, 42))
}

func adminDeleteRecords(ctx context.Context, brokers string) error {
	a, err := newAdmin(brokers)
	if err != nil {
		return err
	}
	defer a.Close()
	var offsets kadm.Offsets
	offsets.AddOffset("snappy", 0, 30, -1)
	deleted, err := a.DeleteRecords(ctx, offsets)
	if err = errors.Join(err, deleted.Error()); err != nil {
		return err
	}
	starts, err := a.ListStartOffsets(ctx, "snappy")
	o, _ := starts.Lookup("snappy", 0)
	return errors.Join(err, starts.Error(), check.Want("start", o.Offset, 30))
}
