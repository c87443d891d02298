package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varvelog/varve/services/e2e/cluster"
)

// TestPutBudgetIsChangedWhileTheNodeRuns starts with a budget so small that a fifth chunk would wait for minutes, and raises it.
func TestPutBudgetIsChangedWhileTheNodeRuns(t *testing.T) {
	t.Parallel()
	const setting = "varve.object.puts.per.second"
	n := cluster.Serve(t, "--object-puts-per-second=0.001", "--seal-age=1h")
	createTopic(t, n, "budgeted", 1, "varve.durability", "object")
	producer := dial(t, n)
	records := numbered("budgeted", "r", 0, 5)
	for i := range 4 { // what may be saved up
		produce(t, producer, records[i])
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	waits := make(chan error, 1)
	go func() { waits <- producer.ProduceSync(ctx, records[4]).FirstErr() }()
	cluster.Eventually(t, 10*time.Second, "the fifth record is in the lane", func() error {
		if bytes, err := n.Metric("varve_lane_bytes"); err != nil || bytes > 0 {
			return err
		}
		return context.DeadlineExceeded
	})
	if puts, err := n.Metric("varve_object_puts_total", `kind="first"`, `outcome="stored"`); err != nil || puts != 4 {
		t.Errorf("%g PUTs within the budget, %v", puts, err)
	}

	admin := kadm.NewClient(producer)
	answers, err := admin.AlterBrokerConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: setting, Value: kadm.StringPtr("1000")}})
	if err != nil || answers[0].Err != nil {
		t.Fatalf("alter the cluster's default: %v, %v", err, answers)
	}
	if err := <-waits; err != nil {
		t.Fatalf("the fifth record, after the budget was raised: %v", err)
	}
	described, err := admin.DescribeBrokerConfigs(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range described[0].Configs {
		if c.Key == setting {
			if c.MaybeValue() != "1000.0" || len(c.Synonyms) != 3 || c.Synonyms[1].Value == nil || !strings.HasPrefix(*c.Synonyms[1].Value, "0.001") {
				t.Errorf("described as %s, %+v", c.MaybeValue(), c.Synonyms)
			}
			return
		}
	}
	t.Error(setting + " is not described")
}
