package e2e

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// TestHighWatermarksNeverGoBackForAClientThatMoves: what one node has acknowledged, every other one shows at a client's first look.
func TestHighWatermarksNeverGoBackForAClientThatMoves(t *testing.T) {
	t.Parallel()
	r := cluster.StartRoles(t, cluster.RolesConfig{Ingest: 3})
	awaitNodes(t, r.Ingest[0], r.Ingest...)
	createTopic(t, r.Ingest[0], "moves", 1, "varve.durability", "replicated")
	producer := dial(t, r.Ingest[0])
	for i := range 60 {
		produce(t, producer, numbered("moves", "m", i, 1)...)
		// A client that is new to the node, as one that was sent there is.
		client := dial(t, r.Ingest[i%len(r.Ingest)], kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"moves": {0: kgo.NewOffset().At(int64(i))}}))
		fetches := client.PollFetches(within(t, patience))
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachPartition(func(p kgo.FetchTopicPartition) {
			if p.HighWatermark < int64(i)+1 {
				t.Fatalf("high watermark %d after %d records were acknowledged", p.HighWatermark, i+1)
			}
		})
		if got := fetches.NumRecords(); got != 1 {
			t.Fatalf("%d records from offset %d", got, i)
		}
		client.Close()
	}
	if got := len(flatten(readAll(t, r.Ingest[1], "moves"))); got != 60 {
		t.Errorf("%d records", got)
	}
}
