package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/kafka-go"

	"github.com/varvelog/varve/services/conformance/clients/golang/check"
)

func adminTopics(ctx context.Context, brokers string) error {
	c := newClient(brokers)
	create := &kafka.CreateTopicsRequest{Topics: []kafka.TopicConfig{{
		Topic: "administered", NumPartitions: 3, ReplicationFactor: 1, ConfigEntries: []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "86400000"}},
	}}}
	created, err := c.CreateTopics(ctx, create)
	if err = errors.Join(err, created.Errors["administered"]); err != nil {
		return err
	}
	created, err = c.CreateTopics(ctx, create)
	if err != nil || !errors.Is(created.Errors["administered"], kafka.TopicAlreadyExists) {
		return fmt.Errorf("created twice: %w", errors.Join(err, created.Errors["administered"]))
	}
	grown, err := c.CreatePartitions(ctx, &kafka.CreatePartitionsRequest{Topics: []kafka.TopicPartitionsConfig{{Name: "administered", Count: 5}}})
	if err = errors.Join(err, grown.Errors["administered"]); err != nil {
		return err
	}
	metadata, err := newClient(brokers).Metadata(ctx, &kafka.MetadataRequest{Topics: []string{"administered"}})
	if err = errors.Join(err, check.Want("partitions", len(metadata.Topics[0].Partitions), 5), check.Want("nodes", len(metadata.Brokers), 1)); err != nil {
		return err
	}
	deleted, err := c.DeleteTopics(ctx, &kafka.DeleteTopicsRequest{Topics: []string{"administered"}})
	if err = errors.Join(err, deleted.Errors["administered"]); err != nil {
		return err
	}
	metadata, err = newClient(brokers).Metadata(ctx, &kafka.MetadataRequest{})
	if err != nil {
		return err
	}
	for _, t := range metadata.Topics {
		if t.Name == "administered" {
			return errors.New("the topic is there after its deletion")
		}
	}
	return nil
}

func adminConfigs(ctx context.Context, brokers string) error {
	c := newClient(brokers)
	for _, want := range []string{"123456789", "604800000"} {
		change := kafka.IncrementalAlterConfigsRequestConfig{Name: "retention.ms", Value: want, ConfigOperation: kafka.ConfigOperationSet}
		if want == "604800000" {
			change = kafka.IncrementalAlterConfigsRequestConfig{Name: "retention.ms", ConfigOperation: kafka.ConfigOperationDelete}
		}
		altered, err := c.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: "gzip", Configs: []kafka.IncrementalAlterConfigsRequestConfig{change},
		}}})
		if err = errors.Join(err, altered.Resources[0].Error); err != nil {
			return err
		}
		described, err := c.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: "gzip", ConfigNames: []string{"retention.ms"},
		}}})
		if err != nil {
			return err
		}
		r := described.Resources[0]
		if err := errors.Join(r.Error, check.Want("entries", len(r.ConfigEntries), 1), check.Want("retention.ms", r.ConfigEntries[0].ConfigValue, want)); err != nil {
			return err
		}
	}
	return nil
}

func adminGroups(ctx context.Context, brokers string) error {
	c := newClient(brokers)
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{brokers}, GroupID: "described", Topic: "gzip", StartOffset: kafka.FirstOffset, Logger: rest, ErrorLogger: errorf})
	if err := read(ctx, r, 0, 100); err != nil {
		return err
	}
	described, err := c.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{"described"}})
	if err = errors.Join(err, check.Want("state", described.Groups[0].GroupState, "Stable"), check.Want("members", len(described.Groups[0].Members), 1), r.Close()); err != nil {
		return err
	}
	listed, err := c.ListGroups(ctx, &kafka.ListGroupsRequest{})
	if err = errors.Join(err, listed.Error); err != nil {
		return err
	}
	there := false
	for _, g := range listed.Groups {
		there = there || g.GroupID == "described"
	}
	offsets, err := c.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: "described", Topics: map[string][]int{"gzip": {0}}})
	if err = errors.Join(err, check.Want("listed", there, true), check.Want("offset", offsets.Topics["gzip"][0].CommittedOffset, 100)); err != nil {
		return err
	}
	for _, want := range []error{nil, kafka.GroupIdNotFound} {
		deleted, err := c.DeleteGroups(ctx, &kafka.DeleteGroupsRequest{GroupIDs: []string{"described"}})
		if err != nil || !errors.Is(deleted.Errors["described"], want) {
			return fmt.Errorf("delete: %w, want %v", errors.Join(err, deleted.Errors["described"]), want)
		}
	}
	return nil
}

func adminOffsets(ctx context.Context, brokers string) error {
	c := newClient(brokers)
	listed, err := c.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: map[string][]kafka.OffsetRequest{"gzip": {
		kafka.FirstOffsetOf(0), kafka.LastOffsetOf(0), kafka.TimeOffsetOf(0, time.UnixMilli(check.FirstTimestamp+10)),
	}}})
	if err != nil {
		return err
	}
	p := listed.Topics["gzip"][0]
	_, byTime := p.Offsets[10]
	if err := errors.Join(p.Error, check.Want("first", p.FirstOffset, 0), check.Want("last", p.LastOffset, 100), check.Want("10 by time", byTime, true)); err != nil {
		return err
	}
	committed, err := c.OffsetCommit(ctx, &kafka.OffsetCommitRequest{GroupID: "set", GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{"gzip": {{Partition: 0, Offset: 42}}}})
	if err = errors.Join(err, committed.Topics["gzip"][0].Error); err != nil {
		return err
	}
	offsets, err := c.OffsetFetch(ctx, &kafka.OffsetFetchRequest{GroupID: "set", Topics: map[string][]int{"gzip": {0}}})
	return errors.Join(err, check.Want("committed", offsets.Topics["gzip"][0].CommittedOffset, 42))
}
