package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/rpc"
	"github.com/varvelog/varve/infra/telemetry"
	"github.com/varvelog/varve/services/config"
	"github.com/varvelog/varve/services/recovery"
)

func newRecover() *cobra.Command {
	c := &config.Config{}
	var asJSON, dryRun, yes bool
	var parallel int
	var hotLogs, disks []string
	command := &cobra.Command{
		Use:   "recover",
		Short: "Rebuild the metadata of a cluster from its bucket, when the metadata log is lost",
		Long: "Rebuild the metadata of a cluster from its bucket, when the metadata log is lost: from the newest snapshot and the log's archive, or, where\n" +
			"they are lost too, from the segments alone. Hot logs that are there (--hotlog) become part of the result; what the metadata has on other disks\n" +
			"is declared lost, unless --disk says that the disk is there. No process of the cluster may run. Nothing changes before the last step, and\n" +
			"until the cluster has been started again, a recovery can be repeated.",
		Example: "varve recover --bucket 's3://bucket/prefix?region=eu-central-1' --dry-run\nvarve recover --data-dir ./varve-data --hotlog ./varve-data",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) (err error) {
			ctx := command.Context()
			store, err := openBucket(c, command)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, store.Close()) }()
			for i, dir := range hotLogs {
				hotLogs[i] = hotLogDir(dir)
			}
			log, _, err := telemetry.NewLogger(command.ErrOrStderr(), "warn", "text")
			if err != nil {
				return err
			}
			shown := newProgress(command.ErrOrStderr(), "looked at")
			plan, err := recovery.Prepare(ctx, recovery.Config{
				Store: store, HotLogs: hotLogs, Disks: disks, Alive: leadsCluster, Parallel: parallel, Progress: shown.add, Logger: log,
			})
			shown.end()
			if err != nil {
				return fmt.Errorf("recover: %w", err)
			}
			defer func() { err = errors.Join(err, plan.Close()) }()
			if !asJSON || !yes && !dryRun {
				if err := plan.Report.Write(command.OutOrStdout()); err != nil {
					return err
				}
			}
			if !dryRun {
				if !yes {
					if err := confirm(command, "Type the cluster's id, %s, to replace its metadata by this: ", plan.Report.ClusterID); err != nil {
						return fmt.Errorf("recover: %w", err)
					}
				}
				if err := plan.Execute(ctx); err != nil {
					return fmt.Errorf("recover: %w", err)
				}
			}
			if asJSON {
				return json.NewEncoder(command.OutOrStdout()).Encode(plan.Report)
			}
			if plan.Report.Done {
				_, err = fmt.Fprintf(command.OutOrStdout(), "done: the cluster's log is %s now; start the cluster\n", plan.Report.NewLog)
			}
			return err
		},
	}
	registerBucket(c, command)
	flags := command.Flags()
	flags.BoolVar(&asJSON, "json", false, "print the report as JSON")
	flags.BoolVar(&dryRun, "dry-run", false, "say what would be recovered and what is lost, and change nothing")
	flags.BoolVar(&yes, "yes", false, "do not ask")
	flags.IntVar(&parallel, "parallel", 4, "objects read at once")
	flags.StringSliceVar(&hotLogs, "hotlog", nil, "this hot log, or that of this data directory, is there")
	flags.StringSliceVar(&disks, "disk", nil, "the disk of this node is there, though not in this machine: its number, or all")
	return command
}

// errNotConfirmed: the operator did not type what he was asked for.
var errNotConfirmed = errors.New("not confirmed, nothing has changed")

// confirm asks for an id, which stands in the question.
func confirm(command *cobra.Command, question, id string) error {
	if _, err := fmt.Fprintf(command.OutOrStdout(), question, id); err != nil {
		return err // who cannot read the question cannot have answered it
	}
	line, err := bufio.NewReader(command.InOrStdin()).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	if strings.TrimSpace(line) != id {
		return errNotConfirmed
	}
	return nil
}

// leadsCluster asks the coordinator at address whether it leads; one of an earlier build, which refuses the question, may. Without an identity it cannot show that it is of the cluster: being refused for that is an
// answer too.
func leadsCluster(ctx context.Context, cluster *identity.Cluster, address string) bool {
	unknown := cluster == nil
	if unknown {
		cluster = &identity.Cluster{}
	}
	client := rpc.NewClient(rpc.ClientConfig{Secret: cluster.Secret, ClusterID: cluster.ClusterID})
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var answer metapb.PingResponse
	err := client.Call(ctx, address, replica.MethodPing, &metapb.PingRequest{}, &answer)
	return err == nil || errors.Is(err, rpc.ErrUnsigned) || unknown && errors.Is(err, rpc.ErrUnauthorized)
}
