package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/open"
	"github.com/varvelog/varve/services/config"
	"github.com/varvelog/varve/services/process"
	"github.com/varvelog/varve/services/verify"
)

func newVerify() *cobra.Command {
	c := &config.Config{}
	var asJSON bool
	var parallel int
	var hotLogs []string
	command := &cobra.Command{
		Use:   "verify",
		Short: "Check every checksum and reference in a bucket, and in hot logs",
		Long: "Check every checksum and reference in a bucket: metadata log, snapshots, segments, chunks, and that whatever the metadata refers to is\n" +
			"there. With --hotlog also a node's hot log. It reads only, and may run beside a cluster that works. The exit code is 1 where anything is wrong.",
		Example: "varve verify --bucket 's3://bucket/prefix?region=eu-central-1'\nvarve verify --data-dir ./varve-data --hotlog ./varve-data/hotlog",
		Args:    cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) (err error) {
			store, err := openBucket(c, command)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, store.Close()) }()
			for i, dir := range hotLogs {
				hotLogs[i] = hotLogDir(dir)
			}
			shown := newProgress(command.ErrOrStderr(), "verified")
			report, err := verify.Run(command.Context(), verify.Config{Store: store, HotLogs: hotLogs, Parallel: parallel, Patience: verifyPatience, Progress: shown.add})
			shown.end()
			if err != nil {
				return fmt.Errorf("verify %s: %w", store, err)
			}
			if asJSON {
				err = json.NewEncoder(command.OutOrStdout()).Encode(report)
			} else {
				err = report.Write(command.OutOrStdout())
			}
			if err == nil && !report.OK() {
				err = errReported
			}
			return err
		},
	}
	registerBucket(c, command)
	command.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	command.Flags().IntVar(&parallel, "parallel", 4, "objects read at once")
	command.Flags().StringSliceVar(&hotLogs, "hotlog", nil, "verify this hot log, or that of this data directory, too")
	return command
}

// verifyPatience is several times what the archive of a live cluster's metadata may be behind.
const verifyPatience = 6 * time.Second

// bucketFlags are the settings that say where a bucket is.
var bucketFlags = []string{"config", "data-dir", "bucket"}

// registerBucket declares the settings that say where the bucket is; all others keep their defaults.
func registerBucket(c *config.Config, command *cobra.Command) {
	c.Register(command.Flags())
	shown := map[string]bool{}
	for _, name := range bucketFlags {
		shown[name] = true
	}
	command.Flags().VisitAll(func(f *pflag.Flag) { f.Hidden = !shown[f.Name] })
}

// loadBucket completes what registerBucket declared.
func loadBucket(c *config.Config, command *cobra.Command) error {
	if err := c.Load(command.Flags(), os.LookupEnv); err != nil {
		return err
	}
	// What a tool writes is read by others. So it tells only of what was probably meant for it; a server tells of all.
	for _, unknown := range c.UnknownEnvironment(os.Environ(), brokersVariable) {
		if unknown.Meant == "" {
			continue
		}
		if _, err := fmt.Fprintln(command.ErrOrStderr(), "ignored an environment variable that is no setting:", unknown); err != nil {
			return err
		}
	}
	if c.Bucket != "" {
		return open.Validate(c.Bucket)
	}
	return c.Validate(config.RoleServe)
}

// openBucket opens the bucket that the settings name. The caller closes it.
func openBucket(c *config.Config, command *cobra.Command) (objstore.Store, error) {
	if err := loadBucket(c, command); err != nil {
		return nil, err
	}
	store, err := open.URL(command.Context(), c.Bucket)
	if err != nil {
		return nil, fmt.Errorf("open --bucket: %w", err)
	}
	return store, nil
}

// hotLogDir is the hot log in dir, which is its own directory or a data directory.
func hotLogDir(dir string) string {
	if inner := filepath.Join(dir, process.HotLogDir); isDir(inner) {
		return inner
	}
	return dir
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// progress tells every few seconds how far something long has come.
type progress struct {
	what           string
	w              io.Writer
	objects, bytes atomic.Int64
	stop           context.CancelFunc
	done           sync.WaitGroup
}

const progressInterval = 5 * time.Second

func newProgress(w io.Writer, what string) *progress {
	ctx, stop := context.WithCancel(context.Background())
	p := &progress{w: w, what: what, stop: stop}
	p.done.Go(func() {
		tick := time.NewTicker(progressInterval)
		defer tick.Stop()
		for began := time.Now(); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				took := time.Since(began)
				fmt.Fprintf(w, "%s: %d objects, %d MB in %s (%.0f MB/s)\n", what, p.objects.Load(), p.bytes.Load()/1e6,
					took.Round(time.Second), float64(p.bytes.Load())/1e6/took.Seconds())
			}
		}
	})
	return p
}

// add notes an object.
func (p *progress) add(bytes int64) {
	p.objects.Add(1)
	p.bytes.Add(bytes)
}

func (p *progress) end() {
	p.stop()
	p.done.Wait()
}
