package election

import (
	"strings"
	"testing"
)

func TestPeersAreReadAndWritten(t *testing.T) {
	peers, err := ParsePeers("3=c.example:9644:6222, 1=10.0.0.1:9644:6222,2=[fd00::2]:9644:6222")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := peers.String(), "1=10.0.0.1:9644:6222,2=[fd00::2]:9644:6222,3=c.example:9644:6222"; got != want {
		t.Errorf("written as %s, want %s", got, want)
	}
	if two, ok := peers.Find(2); !ok || two.Address != "[fd00::2]:9644" || two.RouteAddress != "[fd00::2]:6222" {
		t.Errorf("node 2 is %+v", two)
	}
	if short, err := ParsePeers("1=a:1,2=b:1"); err != nil || short[0].RouteAddress != "" || short.String() != "1=a:1,2=b:1" {
		t.Errorf("without NATS ports: %+v, %v", short, err)
	}
}

func TestWrongPeersAreNamed(t *testing.T) {
	for text, want := range map[string]string{
		"":                       `"" is not`,
		"a=b:1:2":                "is not number=",
		"0=b:1:2":                "is not number=",
		"1=b":                    "is not number=",
		"1=b:1:2:3":              "is not number=",
		"1=b:1:x":                "is not number=",
		"1=:1:2":                 "is not number=",
		"1=b:70000:2":            "is not number=",
		"1=b:1:2,":               `"" is not`,
		"1=0.0.0.0:1:2":          "nobody can connect",
		"1=a:1:2,1=b:1:2":        "number 1 stands twice",
		"1=a:1:2,2=a:1:3":        "same address a:1",
		"1=a:1:2,2=a:3:2":        "same address a:2",
		"1=[::]:1:2":             "nobody can connect",
		"1=[fd00::1:1:2,2=b:1:1": "is not number=",
	} {
		if _, err := ParsePeers(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
