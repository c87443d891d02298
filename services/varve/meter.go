package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// meter counts records and bytes and, on a terminal, shows them once a second.
type meter struct {
	records, bytes atomic.Int64
	started        time.Time
	quit           chan struct{}
	drawing        sync.WaitGroup
}

func startMeter(w io.Writer, quiet bool) *meter {
	m := &meter{started: time.Now(), quit: make(chan struct{})}
	if quiet || !isTerminal(w) {
		return m
	}
	m.drawing.Add(1)
	go func() {
		defer m.drawing.Done()
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				m.draw(w, "\r")
			case <-m.quit:
				m.draw(w, "\r")
				fmt.Fprintln(w)
				return
			}
		}
	}()
	return m
}

func (m *meter) add(records, bytes int64) {
	m.records.Add(records)
	m.bytes.Add(bytes)
}

func (m *meter) draw(w io.Writer, lead string) {
	elapsed := max(time.Since(m.started).Seconds(), 0.001)
	records, size := m.records.Load(), m.bytes.Load()
	fmt.Fprintf(w, "%s%d records, %.1f MiB, %.0f records/s, %.1f MiB/s   ", lead, records, float64(size)/(1<<20), float64(records)/elapsed, float64(size)/(1<<20)/elapsed)
}

// stop ends the display and returns the counts.
func (m *meter) stop() (records, bytes int64) {
	close(m.quit)
	m.drawing.Wait()
	return m.records.Load(), m.bytes.Load()
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
