package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/services/bench"
)

func newBench() *cobra.Command {
	config := bench.Config{}
	var asJSON, quiet bool
	var about strings.Builder
	for _, name := range bench.Names() {
		fmt.Fprintf(&about, "  %-14s %s\n", name, bench.About(name))
	}
	command := &cobra.Command{
		Use:   "bench [FIGURE...]",
		Short: "Measure a server of its own against the bare operations on this machine",
		Long: "Start `varve serve` in a process of its own, load it, and compare what that costs with the bare operations, measured in the same\n" +
			"run on the same disk. Without names every figure is measured, in about eight minutes:\n\n" + about.String(),
		Example:           "varve bench --quick\nvarve bench produce-large --json --profile-dir profiles",
		ValidArgsFunction: cobra.FixedCompletions(bench.Names(), cobra.ShellCompDirectiveNoFileComp),
		RunE: func(command *cobra.Command, args []string) error {
			config.Figures = args
			config.Progress = command.ErrOrStderr()
			if quiet {
				config.Progress = io.Discard
			}
			results, err := bench.Run(command.Context(), config)
			show := bench.PrintTable
			if asJSON {
				show = bench.PrintJSON
			}
			return errors.Join(err, show(command.OutOrStdout(), results))
		},
	}
	flags := command.Flags()
	flags.BoolVar(&asJSON, "json", false, "print JSON, one document a line")
	flags.BoolVar(&config.Quick, "quick", false, "measure less of each figure, in under four minutes altogether")
	flags.BoolVarP(&quiet, "quiet", "q", false, "no progress")
	flags.StringVar(&config.Dir, "dir", "", "directory on the disk to be measured (default .cache/bench)")
	flags.StringVar(&config.Binary, "binary", "", "another varve to measure (default: this one)")
	flags.StringArrayVar(&config.ServerFlags, "server-flag", nil, "flag for every server, such as --server-flag=--metalog=bucket; may be repeated")
	flags.StringVar(&config.ProfileDir, "profile-dir", "", "write a CPU profile of the server for each figure here")
	return command
}
