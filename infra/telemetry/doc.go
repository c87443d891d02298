// Package telemetry is how a process tells of itself: structured logs (slog), Prometheus metrics, and an HTTP listener with
// /healthz (the process lives), /readyz (each part says whether it can serve), /metrics and, where asked for, /debug/pprof.
package telemetry
