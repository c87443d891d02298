package rpc

import (
	"context"
	"log/slog"
	"strings"
)

// onceHandler receives what net/http logs about connections that do not speak HTTP, and passes the first of each kind on.
type onceHandler struct{ server *Server }

func (h *onceHandler) Enabled(context.Context, slog.Level) bool { return h.server.cfg.Logger != nil }

func (h *onceHandler) Handle(ctx context.Context, record slog.Record) error {
	// "http: <kind> from <address>: ...": the words before the first address or quote are the kind.
	kind, _, _ := strings.Cut(record.Message, " from ")
	kind, _, _ = strings.Cut(kind, "\"")
	if len(kind) > 64 {
		kind = kind[:64]
	}
	if _, seen := h.server.seenBad.LoadOrStore("http "+kind, true); seen {
		return nil
	}
	return h.server.cfg.Logger.Handler().Handle(ctx, record)
}

func (h *onceHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h *onceHandler) WithGroup(string) slog.Handler      { return h }
