// Command varve is all of Varve in one binary: the server's roles, and the tools of the people who run and use it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	root := newRoot()
	if err := root.ExecuteContext(ctx); err != nil {
		if !errors.Is(err, errReported) {
			fmt.Fprintln(os.Stderr, "varve:", err)
		}
		stop()
		os.Exit(1)
	}
}

// errReported ends a command whose error its user has already read.
var errReported = errors.New("reported")

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "varve",
		Short:         "A Kafka-compatible log whose sealed layers settle into object storage",
		Long:          "Varve is a Kafka-compatible log whose sealed layers settle into object storage.\n\n`varve serve` runs all of it with no configuration.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Version:       version(),
	}
	root.AddGroup(&cobra.Group{ID: "server", Title: "Servers:"}, &cobra.Group{ID: "client", Title: "Topics and records:"}, &cobra.Group{ID: "tool", Title: "Looking inside:"})
	root.SetCompletionCommandGroupID("tool")
	root.SetHelpCommandGroupID("tool")
	inGroup(root, "server", newServers()...)
	inGroup(root, "client", newTopic(), newProduce(), newConsume(), newGroup())
	inGroup(root, "server", newNode())
	inGroup(root, "tool", newTools()...)
	return root
}

func inGroup(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, command := range commands {
		command.GroupID = group
		root.AddCommand(command)
	}
}

// version is the module's version, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" {
			return info.Main.Version + " " + setting.Value
		}
	}
	return info.Main.Version
}
