package telemetry

import (
	"fmt"
	"io"
	"log/slog"
)

// NewLogger writes to w in format "text" or "json" from the level "debug", "info", "warn" or "error" upwards. The level can be changed later.
func NewLogger(w io.Writer, level, format string) (*slog.Logger, *slog.LevelVar, error) {
	threshold := new(slog.LevelVar)
	if err := threshold.UnmarshalText([]byte(level)); err != nil {
		return nil, nil, fmt.Errorf("parse log level %q: %w", level, err)
	}
	options := &slog.HandlerOptions{Level: threshold}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), threshold, nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), threshold, nil
	default:
		return nil, nil, fmt.Errorf("parse log format %q: want text or json", format)
	}
}
