package e2e

import (
	"path/filepath"
	"testing"

	"github.com/varvelog/varve/services/e2e/cluster"
)

func TestObjectTopicsSurviveTheLossOfTheDisk(t *testing.T) {
	t.Parallel()
	bucket := "file://" + filepath.Join(t.TempDir(), "bucket")
	flags := []string{"--metalog=bucket", "--bucket", bucket, "--object-puts-per-second=200", "--seal-age=1h"}
	first := cluster.Serve(t, flags...)
	createTopic(t, first, "kept", 3, "varve.durability", "object")
	createTopic(t, first, "lost", 1, "varve.durability", "local")
	producer := dial(t, first)
	records := numbered("kept", "r", 0, 2_000)
	for i := range 10 {
		produce(t, producer, records[i*200:(i+1)*200]...)
	}
	produce(t, producer, numbered("lost", "r", 0, 10)...)
	compare(t, flatten(readAll(t, first, "kept")), records)
	first.Kill()

	second := cluster.Serve(t, flags...) // an empty directory, the same bucket
	awaitNodes(t, second, second)
	compare(t, flatten(readAll(t, second, "kept")), records)
	more := numbered("kept", "after", 0, 100)
	produce(t, dial(t, second), more...)
	compare(t, flatten(readAll(t, second, "kept")), append(records, more...))
}
