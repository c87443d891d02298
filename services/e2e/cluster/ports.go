package cluster

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Ports are taken from [firstPort, lastPort]: above what services of a distribution use, below Linux's range for outgoing connections.
const (
	firstPort = 12_000
	lastPort  = 31_999
)

var ports struct {
	sync.Mutex
	given map[int]bool
}

// FreeAddress returns an address on loopback whose port nothing listens on, and that no other test of this process was given.
func FreeAddress(t testing.TB) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = map[int]bool{}
	}
	var last error
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if ports.given[port] {
			continue
		}
		address := fmt.Sprintf("127.0.0.1:%d", port)
		listener, err := net.Listen("tcp", address)
		if err != nil {
			last = err
			continue
		}
		if err := listener.Close(); err != nil {
			t.Fatalf("find free port: %v", err)
		}
		ports.given[port] = true
		return address
	}
	t.Fatalf("find free port: %v", last)
	return ""
}
