package e2e

import (
	"flag"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/varvelog/varve/services/e2e/cluster"
)

func TestMain(m *testing.M) {
	// Processes start, sessions run out, stores stall: a test waits for most of its time.
	if err := flag.Set("test.parallel", strconv.Itoa(2*runtime.GOMAXPROCS(0))); err != nil { // a flag of the command line comes later, and counts
		panic(err)
	}
	os.Exit(cluster.Main(m))
}
