//go:build linux

package main

import (
	"context"
	"errors"
	"flag"

	"github.com/varvelog/varve/services/nemesis/patched"
)

// build builds the binary that runs: Varve, with a clock that can be moved and short sessions.
func build(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("nemesis build", flag.ContinueOnError)
	out := flags.String("o", "", "file to write")
	root := flags.String("root", ".", "root of the module")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *out == "" {
		return errors.New("build: -o is missing")
	}
	return patched.Build(ctx, *root, *out)
}
