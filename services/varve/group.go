package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newGroup() *cobra.Command {
	flags := &clientFlags{}
	command := &cobra.Command{Use: "group", Short: "List and describe consumer groups"}
	flags.register(command)
	command.AddCommand(newGroupList(flags), newGroupDescribe(flags))
	return command
}

type groupRow struct {
	Group    string `json:"group"`
	State    string `json:"state"`
	Protocol string `json:"protocol"`
}

func newGroupList(flags *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List groups",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return flags.admin(command.Context(), func(ctx context.Context, admin *kadm.Client) error {
				groups, err := admin.ListGroups(ctx)
				if err != nil {
					return fmt.Errorf("list groups: %w", err)
				}
				var rows []groupRow
				for _, g := range groups.Sorted() {
					rows = append(rows, groupRow{g.Group, g.State, g.ProtocolType})
				}
				return printRows(command.OutOrStdout(), flags.json, "GROUP\tSTATE\tPROTOCOL", rows, func(r groupRow) string {
					return r.Group + "\t" + r.State + "\t" + r.Protocol
				})
			})
		},
	}
}

type lagRow struct {
	Group     string `json:"group"`
	State     string `json:"state"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committedOffset"`
	End       int64  `json:"highWatermark"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"`
	Client    string `json:"client,omitempty"`
	Host      string `json:"host,omitempty"`
}

func newGroupDescribe(flags *clientFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "describe GROUP",
		Short: "Show a group's members, committed offsets and lag",
		Args:  cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			return flags.admin(command.Context(), func(ctx context.Context, admin *kadm.Client) error {
				lags, err := admin.Lag(ctx, args[0])
				if err != nil {
					return fmt.Errorf("describe group %s: %w", args[0], err)
				}
				lag := lags[args[0]]
				if err := lag.Error(); err != nil {
					return fmt.Errorf("describe group %s: %w", args[0], err)
				}
				var rows []lagRow
				for _, l := range lag.Lag.Sorted() {
					row := lagRow{Group: args[0], State: lag.State, Topic: l.Topic, Partition: l.Partition, Committed: l.Commit.At, End: l.End.Offset, Lag: l.Lag}
					if l.Member != nil {
						row.Member, row.Client, row.Host = l.Member.MemberID, l.Member.ClientID, l.Member.ClientHost
					}
					rows = append(rows, row)
				}
				if !flags.json {
					fmt.Fprintf(command.OutOrStdout(), "group %s is %s, with %d members\n", args[0], lag.State, len(lag.Members))
				}
				return printRows(command.OutOrStdout(), flags.json, "TOPIC\tPARTITION\tCOMMITTED\tHIGH WATERMARK\tLAG\tMEMBER\tCLIENT\tHOST", rows, func(r lagRow) string {
					return fmt.Sprintf("%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s", r.Topic, r.Partition, r.Committed, r.End, r.Lag, r.Member, r.Client, r.Host)
				})
			})
		},
	}
}
