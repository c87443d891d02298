package main

import (
	"fmt"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/hotlog"
)

func newRepair() *cobra.Command {
	var dryRun, yes bool
	command := &cobra.Command{
		Use:   "repair DIR",
		Short: "Make a damaged hot log one that its node opens, with all that is whole of it",
		Long: "Make a damaged hot log, which its node refuses to open, one that it opens, with all that is whole of it. DIR is the hot log or the node's data\n" +
			"directory; the node must not run. Records in what is damaged are lost, unless another node has a copy: their partitions answer\n" +
			"KAFKA_STORAGE_ERROR there, until DeleteRecords or retention has passed them. Nothing is removed from the disk.",
		Example: "varve repair --dry-run ./varve-data\nvarve repair ./varve-data",
		Args:    cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			dir := path.Clean(filepath.ToSlash(hotLogDir(args[0])))
			out := command.OutOrStdout()
			damages := 0
			tell := func(d hotlog.Damage) error {
				damages++
				var err error
				if d.End > 0 {
					_, err = fmt.Fprintf(out, "damaged: %s, %d bytes\n", d.CorruptionError, d.End-d.Position)
				} else {
					_, err = fmt.Fprintf(out, "damaged: %s\n", d.CorruptionError)
				}
				return err
			}
			disk, err := hotlog.Salvage(vfs.OS{}, dir, func(uint64, hotlog.Frame) error { return nil }, tell)
			switch {
			case err != nil:
				return fmt.Errorf("repair %s: %w", dir, err)
			case damages == 0:
				_, err := fmt.Fprintf(out, "%s: nothing is damaged\n", dir)
				return err
			case dryRun:
				return nil
			case !yes:
				if err := confirm(command, "Type the disk's id, %s, to give up what is damaged: ", disk.String()); err != nil {
					return fmt.Errorf("repair %s: %w", dir, err)
				}
			}
			if err := hotlog.Repair(vfs.OS{}, dir, func(hotlog.Damage) error { return nil }); err != nil {
				return err
			}
			_, err = fmt.Fprintln(out, "done: start the node")
			return err
		},
	}
	command.Flags().BoolVar(&dryRun, "dry-run", false, "say what is damaged, and change nothing")
	command.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return command
}
