//go:build linux

package workload

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varvelog/varve/services/nemesis/history"
)

// watch asks again and again how far all logs reach.
func (l *life) watch() {
	client, err := l.client()
	if err != nil {
		l.w.config.Complain("watcher: %v", err)
		l.pause(time.Second)
		return
	}
	defer l.close(client)
	admin := kadm.NewClient(client)
	for l.ctx.Err() == nil {
		asking, cancel := context.WithTimeout(l.ctx, 10*time.Second)
		if e, ok := watermarks(asking, admin, append([]string{input, output}, l.w.topics...)); ok {
			l.event(e)
		}
		cancel()
		l.pause(300 * time.Millisecond)
	}
}

// watermarks asks for the start of each log first, and for its end last, so that they are in order.
func watermarks(ctx context.Context, admin *kadm.Client, topics []string) (e history.Event, ok bool) {
	e = history.Event{Kind: history.Watermarks, Status: history.OK, Invoke: now()}
	low, err := admin.ListStartOffsets(ctx, topics...)
	if err != nil {
		return e, false
	}
	stable, err := admin.ListCommittedOffsets(ctx, topics...)
	if err != nil {
		return e, false
	}
	high, err := admin.ListEndOffsets(ctx, topics...)
	if err != nil {
		return e, false
	}
	e.Complete = now()
	high.Each(func(h kadm.ListedOffset) {
		lowest, known := low.Lookup(h.Topic, h.Partition)
		last, also := stable.Lookup(h.Topic, h.Partition)
		if known && also && lowest.Err == nil && last.Err == nil && h.Err == nil {
			e.Parts = append(e.Parts, history.Part{Partition: place(h.Topic, h.Partition), Low: lowest.Offset, Stable: last.Offset, High: h.Offset})
		}
	})
	return e, len(e.Parts) > 0
}
