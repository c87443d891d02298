package history

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"sync"
)

// Writer writes a history, one event a line, for many goroutines. Events of one process are to be written in their order.
type Writer struct {
	mu struct {
		sync.Mutex
		out    *bufio.Writer
		events int
		err    error // the first
	}
}

// NewWriter writes to w; Flush it at the end.
func NewWriter(w io.Writer) *Writer {
	h := &Writer{}
	h.mu.out = bufio.NewWriterSize(w, 1<<20)
	return h
}

// Write writes an event.
func (h *Writer) Write(e *Event) error {
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.err == nil {
		_, h.mu.err = h.mu.out.Write(append(line, '\n'))
		h.mu.events++
	}
	return h.mu.err
}

// Events is the number of events written.
func (h *Writer) Events() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mu.events
}

// Flush hands everything to the underlying writer.
func (h *Writer) Flush() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.err == nil {
		h.mu.err = h.mu.out.Flush()
	}
	return h.mu.err
}
