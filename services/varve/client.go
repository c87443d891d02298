package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// clientFlags are those of every command that talks to a cluster as any Kafka client does.
type clientFlags struct {
	brokers []string
	json    bool
	timeout time.Duration
}

func (f *clientFlags) register(command *cobra.Command) {
	flags := command.PersistentFlags()
	flags.StringSliceVarP(&f.brokers, "brokers", "b", defaultBrokers(), "bootstrap addresses (also "+brokersVariable+")")
	flags.BoolVar(&f.json, "json", false, "print JSON, one document a line")
	flags.DurationVar(&f.timeout, "timeout", 15*time.Second, "how long to wait for the cluster's answers")
}

// brokersVariable is an environment variable that is not a setting of servers.
const brokersVariable = "VARVE_BROKERS"

func defaultBrokers() []string {
	if text := os.Getenv(brokersVariable); text != "" {
		return strings.Split(text, ",")
	}
	return []string{"127.0.0.1:9092"}
}

// connect returns a client; options come on top of the flags'.
func (f *clientFlags) connect(options ...kgo.Opt) (*kgo.Client, error) {
	options = append([]kgo.Opt{
		kgo.SeedBrokers(f.brokers...),
		kgo.ClientID("varve-cli"),
		kgo.RetryTimeout(f.timeout),
		kgo.DialTimeout(f.timeout),
	}, options...)
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", strings.Join(f.brokers, ","), err)
	}
	return client, nil
}

// admin runs do with an administration client and the command's time limit.
func (f *clientFlags) admin(ctx context.Context, do func(context.Context, *kadm.Client) error) error {
	client, err := f.connect()
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		return fmt.Errorf("reach %s: %w", strings.Join(f.brokers, ","), err)
	}
	return do(ctx, kadm.NewClient(client))
}

// completeTopics offers the cluster's topic names to the shell.
func (f *clientFlags) completeTopics(command *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	f.timeout = 2 * time.Second
	var names []string
	err := f.admin(command.Context(), func(ctx context.Context, admin *kadm.Client) error {
		topics, err := admin.ListTopics(ctx)
		names = topics.Names()
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// printRows writes a table for people, or each row as a JSON document.
func printRows[R any](w io.Writer, asJSON bool, header string, rows []R, line func(R) string) error {
	if asJSON {
		encoder := json.NewEncoder(w)
		for _, row := range rows {
			if err := encoder.Encode(row); err != nil {
				return fmt.Errorf("print: %w", err)
			}
		}
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, header)
	for _, row := range rows {
		fmt.Fprintln(table, line(row))
	}
	return table.Flush()
}

// parseConfigs reads name=value pairs.
func parseConfigs(pairs []string) (map[string]*string, error) {
	configs := map[string]*string{}
	for _, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		if !found || name == "" {
			return nil, fmt.Errorf("--config %q: want name=value", pair)
		}
		configs[name] = &value
	}
	return configs, nil
}
