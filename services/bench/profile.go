package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// profile is a CPU profile of a server, taken in the background of a figure.
type profile struct {
	done chan error // nil where none is taken
}

// profileSeconds is how long a profile samples; a figure that ends before waits for it.
const profileSeconds = 5

// profile starts sampling the server, if profiles were asked for.
func (e *env) profile(ctx context.Context, s *server) profile {
	if e.config.ProfileDir == "" {
		return profile{}
	}
	p := profile{done: make(chan error, 1)}
	go func() { p.done <- e.takeProfile(ctx, s) }()
	return p
}

func (e *env) takeProfile(ctx context.Context, s *server) (err error) {
	ctx, cancel := context.WithTimeout(ctx, (profileSeconds+10)*time.Second)
	defer cancel()
	if err := os.MkdirAll(e.config.ProfileDir, 0o750); err != nil {
		return fmt.Errorf("take profile: %w", err)
	}
	body, err := s.get(ctx, "/debug/pprof/profile?seconds="+strconv.Itoa(profileSeconds))
	if err != nil {
		return fmt.Errorf("take profile: %w", err)
	}
	defer body.Close()
	file, err := os.Create(filepath.Join(e.config.ProfileDir, e.figure+".pprof"))
	if err != nil {
		return fmt.Errorf("take profile: %w", err)
	}
	_, err = io.Copy(file, body)
	return errors.Join(err, file.Close())
}

// finish waits for the profile to be written.
func (p profile) finish() error {
	if p.done == nil {
		return nil
	}
	return <-p.done
}
