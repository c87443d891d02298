package kafka

import (
	"bytes"
	"context"
	"encoding/binary"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// FuzzFrame feeds a connection whatever bytes. It must never panic, never answer what was not asked, and never allocate more than
// the bytes it was given can account for.
func FuzzFrame(f *testing.F) {
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID("fuzz"))
	id := [16]byte{0xee, 't', 'o', 'p', 'i', 'c'}
	for _, a := range newApis().list {
		for _, version := range []int16{a.min, a.max} {
			request := kmsg.RequestForKey(a.key)
			request.SetVersion(version)
			f.Add(formatter.AppendRequest(nil, fill(request, "topic", id), 1))
		}
	}
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add(rawFrame(keyApiVersions, 99, noClientID))

	c := newCluster(nil)
	c.addNode("localhost", 9092, "")
	c.createTopic(f, "topic", 2, "varve.compress.uncompressed", "false") // compressors are pooled, and large
	panics := &panicCounter{}
	s, err := New(Config{Logger: quiet, Metrics: panics}, Domain{Metadata: c, Appender: newDiscarder(1 << 10), Fetcher: &tail{[][]byte{make([]byte, 100)}}, Offsets: c, Groups: noGroups{}, Shares: noShares{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { s.presses.close() })
	// Groups and administration are others' to fuzz: here it ends at the decoder.
	for _, a := range s.apis.list {
		if (a.handle != nil || a.later != nil) && a.key != keyApiVersions {
			a.later = nil
			a.handle = func(context.Context, *call, kmsg.Request) (kmsg.Response, error) { return nil, errCloseConnection }
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64<<10 {
			return
		}
		frames := 0
		for rest := b; len(rest) >= 4; frames++ {
			n := int(int32(binary.BigEndian.Uint32(rest)))
			if n < 0 || n > len(rest)-4 {
				break
			}
			rest = rest[4+n:]
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		out := &sink{replay: replay{frame: b, n: min(len(b), 1)}}
		s.wait.Add(1)
		s.host(newConn(s, out))
		runtime.ReadMemStats(&after)
		// A frame's buffer is made for what it claims; beyond that memory is in proportion to the bytes.
		claimed := 0
		if len(b) >= 8 {
			if n := int32(binary.BigEndian.Uint32(b)); n > 0 && int(n) <= s.config.MaxRequestBytes {
				claimed = 2 * int(n)
			}
		}
		if got, limit := int(after.TotalAlloc-before.TotalAlloc), 1<<20+claimed+400*len(b); frames <= 1 && got > limit {
			t.Errorf("%d bytes allocated for %d, the limit is %d", got, len(b), limit)
		}
		if panics.n.Load() > 0 {
			t.Fatal("panic")
		}
		answers := 0
		for rest := out.written.Bytes(); len(rest) > 0; answers++ {
			rest = rest[4+binary.BigEndian.Uint32(rest):]
		}
		if answers > frames {
			t.Errorf("%d answers to %d frames", answers, frames)
		}
	})
}

type panicCounter struct {
	noMetrics
	n atomic.Int32
}

func (p *panicCounter) Refused(reason string) {
	if reason == "panic" {
		p.n.Add(1)
	}
}

// sink keeps what is answered.
type sink struct {
	replay
	written bytes.Buffer
}

func (s *sink) Write(b []byte) (int, error) { return s.written.Write(b) }
