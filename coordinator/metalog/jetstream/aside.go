package jetstream

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// StepAside has another server lead the stream where the one that this process is connected to does, and returns when one does: what is appended after
// that server has ended finds a leader. Of a server that ends by itself the others may hear too late, and then elect for seconds.
//
// Appends under way meanwhile may stay without an answer.
func (l *Log) StepAside(ctx context.Context) error {
	if !l.replicated {
		return nil
	}
	own := l.nc.ConnectedServerName()
	for {
		info, err := l.info(ctx) // of the stream's leader, who alone answers
		if err != nil {
			return err
		}
		switch c := info.Cluster; {
		case c != nil && c.Leader == own:
			if err := l.stepDown(ctx, closest(c)); err != nil {
				return fmt.Errorf("have another server lead stream %s: %w", l.stream, err)
			}
		case c == nil || c.Leader != "":
			return nil
		case ctx.Err() != nil: // it was elected just now, and its name is not known yet
			return fmt.Errorf("nobody is known to lead stream %s: %w", l.stream, ctx.Err())
		}
	}
}

// closest is the follower that lacks least of the stream, "" where none is known to follow.
func closest(c *jetstream.ClusterInfo) (name string) {
	var best *jetstream.PeerInfo
	for _, p := range c.Replicas {
		if p.Current && !p.Offline && (best == nil || p.Lag < best.Lag) {
			best, name = p, p.Name
		}
	}
	return name
}

// stepDown asks the stream's leader to leave the lead to a follower, "" for any. One that does not answer may have done so.
func (l *Log) stepDown(ctx context.Context, follower string) error {
	var request struct {
		Placement struct {
			Preferred string `json:"preferred,omitempty"`
		} `json:"placement"`
	}
	request.Placement.Preferred = follower
	body, err := json.Marshal(&request)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	once, cancel := context.WithTimeout(ctx, infoAttempt)
	defer cancel()
	reply, err := l.nc.RequestWithContext(once, jetstream.DefaultAPIPrefix+"STREAM.LEADER.STEPDOWN."+l.stream, body)
	if err != nil {
		return ctx.Err()
	}
	var answer struct {
		Error *apiError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if answer.Error == nil {
		return nil
	}
	// Its followers are not there, or it leads no more: who answers next says.
	timer := time.NewTimer(infoPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ctx.Err(), answer.Error)
	}
}
