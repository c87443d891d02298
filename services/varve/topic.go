package main

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newTopic() *cobra.Command {
	flags := &clientFlags{}
	command := &cobra.Command{Use: "topic", Short: "Create, list, describe, alter and delete topics"}
	flags.register(command)
	command.AddCommand(newTopicCreate(flags), newTopicList(flags), newTopicDescribe(flags), newTopicAlter(flags), newTopicDelete(flags))
	return command
}

// topicDone is printed for what was done to a topic.
type topicDone struct {
	Topic string `json:"topic"`
	ID    string `json:"id,omitempty"`
	Done  string `json:"done"`
}

func printDone(command *cobra.Command, flags *clientFlags, done topicDone) error {
	return printRows(command.OutOrStdout(), flags.json, "TOPIC\tDONE", []topicDone{done}, func(d topicDone) string {
		return d.Topic + "\t" + d.Done
	})
}

func newTopicCreate(flags *clientFlags) *cobra.Command {
	var partitions int32
	var pairs []string
	command := &cobra.Command{
		Use:     "create NAME",
		Short:   "Create a topic",
		Example: "varve topic create orders --partitions 12 --config retention.ms=604800000 --config varve.durability=object",
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			configs, err := parseConfigs(pairs)
			if err != nil {
				return err
			}
			return flags.admin(command.Context(), func(ctx context.Context, admin *kadm.Client) error {
				answer, err := admin.CreateTopic(ctx, partitions, -1, configs, args[0])
				if err != nil {
					return explain("create topic "+args[0], err, answer.ErrMessage)
				}
				return printDone(command, flags, topicDone{Topic: args[0], ID: answer.ID.String(), Done: "created"})
			})
		},
	}
	command.Flags().Int32VarP(&partitions, "partitions", "p", -1, "number of partitions (-1: the cluster's default)")
	command.Flags().StringArrayVarP(&pairs, "config", "c", nil, "topic configuration, name=value; may be repeated")
	return command
}

type topicRow struct {
	Topic      string `json:"topic"`
	ID         string `json:"id"`
	Partitions int    `json:"partitions"`
	Internal   bool   `json:"internal,omitempty"`
}

func newTopicList(flags *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List topics",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return flags.admin(command.Context(), func(ctx context.Context, admin *kadm.Client) error {
				topics, err := admin.ListTopics(ctx)
				if err != nil {
					return fmt.Errorf("list topics: %w", err)
				}
				var rows []topicRow
				for _, topic := range topics.Sorted() {
					rows = append(rows, topicRow{topic.Topic, topic.ID.String(), len(topic.Partitions), topic.IsInternal})
				}
				return printRows(command.OutOrStdout(), flags.json, "TOPIC\tPARTITIONS\tID", rows, func(r topicRow) string {
					return fmt.Sprintf("%s\t%d\t%s", r.Topic, r.Partitions, r.ID)
				})
			})
		},
	}
}

type partitionRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Leader    int32  `json:"leader"`
	Epoch     int32  `json:"leaderEpoch"`
	Start     int64  `json:"logStartOffset"`
	End       int64  `json:"highWatermark"`
}

type configRow struct {
	Topic  string `json:"topic"`
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

func newTopicDescribe(flags *clientFlags) *cobra.Command {
	var all bool
	command := &cobra.Command{
		Use:               "describe NAME",
		Short:             "Show a topic's partitions with their offsets, and its configuration",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: flags.completeTopics,
		RunE: func(command *cobra.Command, args []string) error {
			return flags.admin(command.Context(), func(ctx context.Context, admin *kadm.Client) error {
				partitions, err := describePartitions(ctx, admin, args[0])
				if err != nil {
					return fmt.Errorf("describe topic %s: %w", args[0], err)
				}
				configs, err := describeConfigs(ctx, admin, args[0], all)
				if err != nil {
					return fmt.Errorf("describe topic %s: %w", args[0], err)
				}
				out := command.OutOrStdout()
				if err := printRows(out, flags.json, "PARTITION\tLEADER\tEPOCH\tLOG START\tHIGH WATERMARK", partitions, func(r partitionRow) string {
					return fmt.Sprintf("%d\t%d\t%d\t%d\t%d", r.Partition, r.Leader, r.Epoch, r.Start, r.End)
				}); err != nil {
					return err
				}
				if len(configs) == 0 {
					return nil
				}
				if !flags.json {
					fmt.Fprintln(out)
				}
				return printRows(out, flags.json, "CONFIG\tVALUE\tSOURCE", configs, func(r configRow) string {
					return r.Name + "\t" + r.Value + "\t" + r.Source
				})
			})
		},
	}
	command.Flags().BoolVar(&all, "all", false, "show the settings that have their defaults, too")
	return command
}

func describePartitions(ctx context.Context, admin *kadm.Client, topic string) ([]partitionRow, error) {
	topics, err := admin.ListTopics(ctx, topic)
	if err != nil {
		return nil, err
	}
	if err := topics.Error(); err != nil {
		return nil, err
	}
	starts, err := admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	var rows []partitionRow
	for _, p := range topics[topic].Partitions.Sorted() {
		start, _ := starts.Lookup(topic, p.Partition)
		end, _ := ends.Lookup(topic, p.Partition)
		if err := errors.Join(start.Err, end.Err); err != nil {
			return nil, fmt.Errorf("offsets of partition %d: %w", p.Partition, err)
		}
		rows = append(rows, partitionRow{topic, p.Partition, p.Leader, p.LeaderEpoch, start.Offset, end.Offset})
	}
	return rows, nil
}

func describeConfigs(ctx context.Context, admin *kadm.Client, topic string, all bool) ([]configRow, error) {
	resources, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return nil, err
	}
	resource, err := resources.On(topic, nil)
	if err != nil {
		return nil, err
	}
	if resource.Err != nil {
		return nil, resource.Err
	}
	var rows []configRow
	for _, c := range resource.Configs {
		if all || c.Source.String() == "DYNAMIC_TOPIC_CONFIG" {
			rows = append(rows, configRow{topic, c.Key, c.MaybeValue(), c.Source.String()})
		}
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i].Name < rows[j].Name })
	return rows, nil
}

func newTopicAlter(flags *clientFlags) *cobra.Command {
	var partitions int
	var pairs, unset []string
	command := &cobra.Command{
		Use:               "alter NAME",
		Short:             "Change a topic's configuration, or add partitions",
		Example:           "varve topic alter orders --config retention.ms=-1 --unset segment.bytes --partitions 24",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: flags.completeTopics,
		RunE: func(command *cobra.Command, args []string) error {
			configs, err := parseConfigs(pairs)
			if err != nil {
				return err
			}
			var changes []kadm.AlterConfig
			for name, value := range configs {
				changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: name, Value: value})
			}
			for _, name := range unset {
				changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: name})
			}
			if len(changes) == 0 && partitions == 0 {
				return errors.New("alter topic: nothing to do: give --config, --unset or --partitions")
			}
			return flags.admin(command.Context(), func(ctx context.Context, admin *kadm.Client) error {
				return alterTopic(ctx, command, flags, admin, args[0], changes, partitions)
			})
		},
	}
	command.Flags().IntVarP(&partitions, "partitions", "p", 0, "new number of partitions; it can only grow")
	command.Flags().StringArrayVarP(&pairs, "config", "c", nil, "name=value; may be repeated")
	command.Flags().StringArrayVar(&unset, "unset", nil, "setting that goes back to its default; may be repeated")
	return command
}

func alterTopic(ctx context.Context, command *cobra.Command, flags *clientFlags, admin *kadm.Client, topic string, changes []kadm.AlterConfig, partitions int) error {
	if len(changes) > 0 {
		answers, err := admin.AlterTopicConfigs(ctx, changes, topic)
		if err != nil {
			return fmt.Errorf("alter topic %s: %w", topic, err)
		}
		answer, err := answers.On(topic, nil)
		if err = errors.Join(err, answer.Err); err != nil {
			return explain("alter topic "+topic, err, answer.ErrMessage)
		}
	}
	if partitions > 0 {
		answers, err := admin.UpdatePartitions(ctx, partitions, topic)
		if err != nil {
			return fmt.Errorf("add partitions to %s: %w", topic, err)
		}
		answer, err := answers.On(topic, nil)
		if err = errors.Join(err, answer.Err); err != nil {
			return explain("add partitions to "+topic, err, answer.ErrMessage)
		}
	}
	return printDone(command, flags, topicDone{Topic: topic, Done: "altered"})
}

func newTopicDelete(flags *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:               "delete NAME...",
		Short:             "Delete topics and everything in them",
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: flags.completeTopics,
		RunE: func(command *cobra.Command, args []string) error {
			return flags.admin(command.Context(), func(ctx context.Context, admin *kadm.Client) error {
				answers, err := admin.DeleteTopics(ctx, args...)
				if err != nil {
					return fmt.Errorf("delete topics: %w", err)
				}
				var failed []error
				for _, answer := range answers.Sorted() {
					if answer.Err != nil {
						failed = append(failed, explain("delete topic "+answer.Topic, answer.Err, answer.ErrMessage))
						continue
					}
					failed = append(failed, printDone(command, flags, topicDone{Topic: answer.Topic, Done: "deleted"}))
				}
				return errors.Join(failed...)
			})
		},
	}
}

// explain joins Kafka's error with the reason that the server gave, if any.
func explain(doing string, err error, message string) error {
	if message != "" {
		return fmt.Errorf("%s: %w: %s", doing, err, message)
	}
	return fmt.Errorf("%s: %w", doing, err)
}
