package main

import (
	"context"
	"log/slog"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/simulate/world"
)

// handler writes warnings and errors to the trace, and lets judge look at them.
type handler struct {
	world *world.World
	name  string
	attrs []slog.Attr
	judge func(slog.Record)
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	write := func(a slog.Attr) bool {
		b.WriteString(" " + a.String())
		return true
	}
	for _, a := range h.attrs {
		write(a)
	}
	r.Attrs(write)
	h.world.Trace("%s %s: %s%s", h.name, r.Level, r.Message, b.String())
	if h.judge != nil {
		h.judge(r)
	}
	return nil
}

// WithAttrs implements slog.Handler.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	other := *h
	other.attrs = append(other.attrs[:len(other.attrs):len(other.attrs)], attrs...)
	return &other
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(string) slog.Handler { return h }

// clientLog writes what client libraries say to a verbose trace.
type clientLog struct {
	world *world.World
	name  string
}

// Level implements kgo.Logger.
func (l clientLog) Level() kgo.LogLevel {
	if l.world.Verbose {
		return kgo.LogLevelDebug
	}
	return kgo.LogLevelNone
}

// Log implements kgo.Logger.
func (l clientLog) Log(_ kgo.LogLevel, message string, pairs ...any) {
	l.world.Detail("%s %s %v", l.name, message, pairs)
}
