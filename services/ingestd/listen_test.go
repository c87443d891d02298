package ingestd

import (
	"testing"

	"github.com/varvelog/varve/services/config"
)

// A listener that may have any port is advertised with the one that it got.
func TestClientsAreToldThePortThatAListenerWasGiven(t *testing.T) {
	c := &config.Config{
		KafkaAddr: "127.0.0.1:0", AdvertisedAddr: "general.example:0", ZoneListeners: "a=127.0.0.1:0@a.example:0,b=127.0.0.1:0@b.example:9093",
		AdvertisedInternalAddr: "internal.example:9644",
	}
	n := &Node{}
	if err := n.listen(c); err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, l := range n.listeners {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}
	}()
	r, err := newRegistration(c, n.listeners)
	if err != nil {
		t.Fatal(err)
	}
	if _, port, err := config.SplitAddress(n.listeners[0].Addr().String()); err != nil || r.KafkaHost != "general.example" || r.KafkaPort != int32(port) || port == 0 {
		t.Errorf("general listener at port %d (%v) is told as %s:%d", port, err, r.KafkaHost, r.KafkaPort)
	}
	if len(r.ZoneListeners) != 2 {
		t.Fatalf("listeners of zones: %v", r.ZoneListeners)
	}
	_, port, err := config.SplitAddress(n.listeners[1].Addr().String())
	if a := r.ZoneListeners[0]; err != nil || a.Zone != "a" || a.KafkaHost != "a.example" || a.KafkaPort != int32(port) || port == 0 {
		t.Errorf("listener of zone a at port %d (%v): %v", port, err, a)
	}
	if b := r.ZoneListeners[1]; b.Zone != "b" || b.KafkaHost != "b.example" || b.KafkaPort != 9093 {
		t.Errorf("listener of zone b: %v", b)
	}
	if r.InternalAddress != "internal.example:9644" {
		t.Errorf("internal address %s", r.InternalAddress)
	}
}
