package telemetry

import (
	"fmt"
	"sync"
)

// Readiness gathers what the parts of a process say of whether they can serve. The zero value is ready.
type Readiness struct {
	mu struct {
		sync.Mutex
		parts []part
	}
}

type part struct {
	name  string
	check func() error
}

// Add registers a part; check must be quick and say why the part cannot serve, or nil.
func (r *Readiness) Add(name string, check func() error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.parts = append(r.mu.parts, part{name, check})
}

// Check returns a line for each part that cannot serve.
func (r *Readiness) Check() []string {
	r.mu.Lock()
	parts := r.mu.parts[:len(r.mu.parts):len(r.mu.parts)]
	r.mu.Unlock()
	var reasons []string
	for _, p := range parts {
		if err := p.check(); err != nil {
			reasons = append(reasons, fmt.Sprintf("%s: %v", p.name, err))
		}
	}
	return reasons
}
