package e2e

import (
	"os/exec"
	"testing"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// kcat runs kcat against a node to its end, and returns what it printed.
func kcat(t *testing.T, n *cluster.Node, input string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("kcat")
	if err != nil {
		t.Skip("kcat is not installed (on Debian: apt-get install kcat)")
	}
	return cluster.MustCommand(t, input, path, append([]string{"-b", n.Kafka}, args...)...)
}

func TestKcatProducesAndConsumesKeysAndHeadersInEveryCodec(t *testing.T) {
	t.Parallel()
	n := cluster.Serve(t)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		topic := "kcat-" + codec
		input := "alpha:first\nbeta:second\nalpha:third\n"
		kcat(t, n, input, "-P", "-t", topic, "-K:", "-z", codec, "-H", "origin=test", "-H", "codec="+codec)
		got := kcat(t, n, "", "-C", "-t", topic, "-o", "beginning", "-e", "-q", "-f", `%k:%s|%h|%o\n`)
		headers := "|origin=test,codec=" + codec + "|"
		want := "alpha:first" + headers + "0\nbeta:second" + headers + "1\nalpha:third" + headers + "2\n"
		if got != want {
			t.Errorf("%s: got\n%swant\n%s", codec, got, want)
		}
	}
}
