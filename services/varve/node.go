package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/coordinator/identity"
	"github.com/varvelog/varve/coordinator/metapb"
	"github.com/varvelog/varve/coordinator/replica"
	"github.com/varvelog/varve/infra/objstore/open"
	"github.com/varvelog/varve/infra/rpc"
	"github.com/varvelog/varve/services/config"
)

// nodeFlags say how to reach the leader: over the internal listener, whose secret is in the bucket.
type nodeFlags struct {
	config       config.Config
	coordinators []string
	json         bool
	timeout      time.Duration
}

func newNode() *cobra.Command {
	command := &cobra.Command{
		Use:   "node",
		Short: "List ingest nodes, and give up those that will not come back",
		Long: "List ingest nodes, and give up those that will not come back. It asks the coordinator over the internal listener, with the secret that is in\n" +
			"the bucket: --bucket (or --data-dir, of `varve serve`) says where that is.",
	}
	command.AddCommand(newNodeList(), newNodeForget())
	return command
}

func (f *nodeFlags) register(command *cobra.Command) {
	registerBucket(&f.config, command)
	flags := command.Flags()
	flags.StringSliceVar(&f.coordinators, "coordinator", nil, "internal addresses of coordinators (default: those of VARVE_PEERS, else --internal-addr)")
	flags.BoolVar(&f.json, "json", false, "print JSON, one document a line")
	flags.DurationVar(&f.timeout, "timeout", 15*time.Second, "how long to wait for the coordinator's answers")
}

// ask calls a method of the leader's.
func (f *nodeFlags) ask(command *cobra.Command, do func(ctx context.Context, leader *replica.Remote) error) error {
	ctx, cancel := context.WithTimeout(command.Context(), f.timeout)
	defer cancel()
	if err := loadBucket(&f.config, command); err != nil {
		return err
	}
	store, err := open.URL(ctx, f.config.Bucket)
	if err != nil {
		return fmt.Errorf("open --bucket: %w", err)
	}
	defer store.Close()
	cluster, err := identity.Load(ctx, store)
	if err != nil {
		return fmt.Errorf("read the cluster's identity: %w", err)
	}
	client := rpc.NewClient(rpc.ClientConfig{Secret: cluster.Secret, ClusterID: cluster.ClusterID})
	defer client.Close()
	if len(f.coordinators) == 0 {
		if f.coordinators, err = f.config.Coordinators(); err != nil {
			return err
		}
	}
	return do(ctx, replica.NewRemote(replica.RemoteConfig{Client: client, Addresses: f.coordinators}))
}

type nodeRow struct {
	Node             int32  `json:"node"`
	Epoch            uint64 `json:"epoch"`
	Zone             string `json:"zone"`
	State            string `json:"state"`
	Kafka            string `json:"kafka"`
	Internal         string `json:"internal"`
	AloneContainers  uint64 `json:"unshippedContainersAlone"`
	AloneBytes       uint64 `json:"unshippedBytesAlone"`
	CopiedContainers uint64 `json:"unshippedContainersCopied"`
	CopiedBytes      uint64 `json:"unshippedBytesCopied"`
}

func nodeState(n *metapb.NodeInfo) string {
	switch {
	case n.Forgotten:
		return "forgotten"
	case !n.Live:
		return "dead"
	case n.Draining:
		return "draining"
	default:
		return "live"
	}
}

func newNodeList() *cobra.Command {
	flags := &nodeFlags{}
	command := &cobra.Command{
		Use:   "list",
		Short: "List ingest nodes, and what is on their disks and not in the bucket yet",
		Long: "List ingest nodes, and what is on their disks and not in the bucket yet: ALONE on that node's disk and nowhere else, or COPIED, which\n" +
			"another node has as well.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return flags.ask(command, func(ctx context.Context, leader *replica.Remote) error {
				answer := &metapb.NodeListResponse{}
				if err := leader.Call(ctx, replica.MethodNodeList, &metapb.NodeListRequest{}, answer); err != nil {
					return fmt.Errorf("list nodes: %w", err)
				}
				var rows []nodeRow
				for _, n := range answer.Nodes {
					rows = append(rows, nodeRow{
						n.NodeId, n.Epoch, n.Zone, nodeState(n), n.KafkaAddress, n.InternalAddress, n.AloneContainers, n.AloneBytes, n.CopiedContainers, n.CopiedBytes,
					})
				}
				const header = "NODE\tEPOCH\tZONE\tSTATE\tKAFKA\tINTERNAL\tALONE\tBYTES\tCOPIED\tBYTES"
				return printRows(command.OutOrStdout(), flags.json, header, rows, func(r nodeRow) string {
					return fmt.Sprintf("%d\t%d\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d", r.Node, r.Epoch, r.Zone, r.State, r.Kafka, r.Internal,
						r.AloneContainers, r.AloneBytes, r.CopiedContainers, r.CopiedBytes)
				})
			})
		},
	}
	flags.register(command)
	return command
}

type lostRow struct {
	Topic      string `json:"topic"`
	Partition  int32  `json:"partition"`
	BaseOffset int64  `json:"baseOffset"`
	NextOffset int64  `json:"nextOffset"`
	Records    uint64 `json:"records"`
}

func newNodeForget() *cobra.Command {
	flags := &nodeFlags{}
	var yes bool
	command := &cobra.Command{
		Use:   "forget NODE",
		Short: "Give up a node that will not come back: what lies only on its disk is lost",
		Long: "Give up a node that will not come back. What lies on its disk alone is declared lost: consumers pass over those offsets, and wait for them no\n" +
			"more. It prints what is lost, and asks before it does anything. A node that lives is refused.",
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 32)
			if err != nil || id < 1 {
				return fmt.Errorf("%q is no node's number", args[0])
			}
			return flags.ask(command, func(ctx context.Context, leader *replica.Remote) error {
				if !yes {
					answer, err := forget(ctx, leader, int32(id), true)
					if err != nil {
						return err
					}
					if err := printLost(command, flags.json, int32(id), answer, "would be lost"); err != nil {
						return err
					}
					if !agreed(command.InOrStdin(), command.ErrOrStderr(), fmt.Sprintf("Forget node %d? Type yes: ", id)) {
						return fmt.Errorf("node %d is not forgotten (--yes forgets without asking)", id)
					}
				}
				answer, err := forget(context.WithoutCancel(ctx), leader, int32(id), false)
				if err != nil {
					return err
				}
				return printLost(command, flags.json, int32(id), answer, "are lost")
			})
		},
	}
	flags.register(command)
	command.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return command
}

func forget(ctx context.Context, leader *replica.Remote, id int32, dryRun bool) (*metapb.NodeForgetResponse, error) {
	answer := &metapb.NodeForgetResponse{}
	if err := leader.Call(ctx, replica.MethodNodeForget, &metapb.NodeForgetRequest{NodeId: id, DryRun: dryRun}, answer); err != nil {
		return nil, fmt.Errorf("forget node %d: %w", id, err)
	}
	if answer.Refused != "" {
		return nil, fmt.Errorf("forget node %d: %s", id, answer.Refused)
	}
	return answer, nil
}

func printLost(command *cobra.Command, asJSON bool, id int32, answer *metapb.NodeForgetResponse, verb string) error {
	var rows []lostRow
	records := uint64(0)
	for _, r := range answer.Lost {
		rows = append(rows, lostRow{r.Topic, r.Partition, r.BaseOffset, r.NextOffset, r.Records})
		records += r.Records
	}
	if len(rows) > 0 {
		err := printRows(command.OutOrStdout(), asJSON, "TOPIC\tPARTITION\tFROM OFFSET\tTO OFFSET\tRECORDS", rows, func(r lostRow) string {
			return fmt.Sprintf("%s\t%d\t%d\t%d\t%d", r.Topic, r.Partition, r.BaseOffset, r.NextOffset-1, r.Records)
		})
		if err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(command.ErrOrStderr(), "%d records of node %d %s.\n", records, id, verb)
	return err
}

// agreed asks a person.
func agreed(in io.Reader, out io.Writer, question string) bool {
	fmt.Fprint(out, question)
	line, _ := bufio.NewReader(in).ReadString('\n')
	return strings.TrimSpace(line) == "yes"
}
