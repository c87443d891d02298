package e2e

import (
	"os"
	"testing"

	"github.com/varvelog/varve/services/e2e/cluster"
)

func TestMain(m *testing.M) { os.Exit(cluster.Main(m)) }
