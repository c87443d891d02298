package ingestd

import (
	"context"
	"sync"
	"time"
)

// contactFresh is how long after a ping that the leader has answered nobody can have been sent to another node in this one's place: leader.Config.NodeTimeout.
const contactFresh = 5 * pingInterval

// contact is what pings have told of whether this node is the one that its clients are sent to.
type contact struct {
	mu    sync.Mutex
	heard time.Time     // when the last ping began that was answered
	away  time.Time     // when an answer came last that said otherwise
	news  chan struct{} // closed by the next answer, nil where nobody waits
}

// note takes in the answer to a ping.
func (c *contact) note(began time.Time, away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = began
	if away {
		c.away = time.Now()
	}
	if c.news != nil {
		close(c.news)
		c.news = nil
	}
}

// Await implements kafka.Contact.
func (c *contact) Await(ctx context.Context) (away, checked time.Time, err error) {
	for {
		c.mu.Lock()
		checked = time.Now()
		if checked.Sub(c.heard) < contactFresh {
			away = c.away
			c.mu.Unlock()
			return away, checked, nil
		}
		if c.news == nil {
			c.news = make(chan struct{})
		}
		news := c.news
		c.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
			return time.Time{}, checked, ctx.Err()
		}
	}
}
