// Command composecheck loads compose files the way `docker compose config`
// does, with no engine, and exits 1 on one that would not load.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	for _, path := range os.Args[1:] {
		if err := load(context.Background(), path); err != nil {
			fmt.Fprintf(os.Stderr, "composecheck: load %s: %v\n", path, err)
			os.Exit(1)
		}
	}
}

func load(ctx context.Context, path string) error {
	options, err := cli.NewProjectOptions([]string{path}, cli.WithName("composecheck"), cli.WithOsEnv)
	if err != nil {
		return err
	}
	project, err := options.LoadProject(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%s loads: %s\n", path, strings.Join(project.ServiceNames(), ", "))
	return nil
}
