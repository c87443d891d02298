package config

import (
	"errors"
	"strings"
	"testing"
)

func TestACoordinatorsAddressesComeFromItsPeers(t *testing.T) {
	c := &Config{DataDir: "d", Bucket: "file:///b", HTTPAddr: "127.0.0.1:1", InternalAddr: "0.0.0.0:9644", NATSAddr: "0.0.0.0:4222", Metalog: "jetstream",
		NodeID: 2, PeerList: "1=10.0.0.1:9644:6222,2=10.0.0.2:9644:6222,3=10.0.0.3:9644:6222"}
	if err := c.validatePeers(RoleCoordinator); err != nil {
		t.Fatal(err)
	}
	if c.AdvertisedInternalAddr != "10.0.0.2:9644" || c.NATSClusterAddr != "10.0.0.2:6222" || len(c.Peers) != 3 {
		t.Errorf("advertised as %s, NATS peers at %s, %d peers", c.AdvertisedInternalAddr, c.NATSClusterAddr, len(c.Peers))
	}
}

func TestPeersThatCannotBeAreNamed(t *testing.T) {
	const three = "1=10.0.0.1:9644:6222,2=10.0.0.2:9644:6222,3=10.0.0.3:9644:6222"
	for want, c := range map[string]Config{
		"needs --peers":               {NodeID: 1},
		"is not among --peers":        {NodeID: 4, PeerList: three},
		"must be this coordinator's":  {PeerList: three},
		"listens on loopback alone":   {NodeID: 1, PeerList: three, InternalAddr: "127.0.0.1:9644"},
		"--peers says that node 1":    {NodeID: 1, PeerList: three, AdvertisedInternalAddr: "10.0.0.9:9644"},
		"has no NATS port":            {NodeID: 1, PeerList: "1=a:1,2=b:1,3=c:1"},
		"an odd number":               {NodeID: 1, PeerList: "1=a:1:2,2=b:1:2", Metalog: "jetstream"},
		"needs an odd number":         {NodeID: 1, PeerList: "1=a:1,2=b:1", NATSURL: "nats://n:4222", Metalog: "jetstream"},
		"nats-cluster-addr":           {NodeID: 1, PeerList: three, NATSClusterAddr: "6222"},
		"is not number=host:internal": {NodeID: 1, PeerList: "10.0.0.1"},
	} {
		if err := c.validatePeers(RoleCoordinator); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for _, c := range []Config{
		{NodeID: 1, PeerList: "1=a:1,2=b:1,3=c:1", NATSURL: "nats://n:4222", Metalog: "jetstream"},
		{NodeID: 1, PeerList: "1=a:1,2=b:1", NATSURL: "nats://n:4222", Metalog: "bucket"},
		{NodeID: 1, PeerList: "1=a:1:2,2=b:1:2", Metalog: "bucket"},
	} {
		if err := c.validatePeers(RoleCoordinator); err != nil {
			t.Errorf("%s: %v", c.PeerList, err)
		}
	}
	if err := (&Config{PeerList: three}).validatePeers(RoleServe); err == nil || !strings.Contains(err.Error(), "single node") {
		t.Errorf("varve serve with peers: %v", err)
	}
}

func TestToolsAskAllCoordinatorsOfTheList(t *testing.T) {
	for _, row := range []struct{ peers, want string }{
		{"", "127.0.0.1:9644"},
		{"2=b:9644:6222,1=a:9644:6222", "a:9644 b:9644"},
	} {
		c := Config{InternalAddr: "127.0.0.1:9644", PeerList: row.peers}
		got, err := c.Coordinators()
		if err != nil || strings.Join(got, " ") != row.want {
			t.Errorf("with --peers %q: %v, %v, want %s", row.peers, got, err, row.want)
		}
	}
	c := Config{PeerList: "nonsense"}
	var field *FieldError
	if _, err := c.Coordinators(); !errors.As(err, &field) || field.Field != "peers" {
		t.Errorf("got %v", err)
	}
}
