package kafka

import (
	"log/slog"
	"strconv"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestAdministratorsChangeWhatANodeLogs(t *testing.T) {
	level := new(slog.LevelVar)
	c := newCluster(t)
	s, addr := start(t, c, Config{LogLevel: level})
	client, node := dial(t, addr), strconv.Itoa(int(s.config.NodeID))
	alter := func(node, logger string, op kmsg.IncrementalAlterConfigOp, value string) int16 {
		r := kmsg.NewPtrIncrementalAlterConfigsRequest()
		r.Version = 1
		r.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBrokerLogger, ResourceName: node,
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: logger, Op: op, Value: &value}}}}
		return client.request(r).(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode
	}
	described := func() string {
		r := kmsg.NewPtrDescribeConfigsRequest()
		r.Version = 4
		r.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBrokerLogger, ResourceName: node}}
		return *client.request(r).(*kmsg.DescribeConfigsResponse).Resources[0].Configs[0].Value
	}
	const set, remove = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete
	if got := described(); got != "INFO" {
		t.Errorf("at first: %s", got)
	}
	if code := alter(node, "root", set, "debug"); code != 0 || level.Level() != slog.LevelDebug || described() != "DEBUG" {
		t.Errorf("set: %v, %v, %s", kerr.ErrorForCode(code), level.Level(), described())
	}
	for _, bad := range []struct {
		node, logger string
		op           kmsg.IncrementalAlterConfigOp
		value        string
		want         *kerr.Error
	}{
		{"99", "root", set, "INFO", kerr.InvalidRequest}, {node, "other", set, "INFO", kerr.InvalidConfig}, {node, "root", set, "LOUD", kerr.InvalidConfig},
		{node, "root", remove, "", kerr.InvalidRequest},
	} {
		if code := alter(bad.node, bad.logger, bad.op, bad.value); code != bad.want.Code || level.Level() != slog.LevelDebug {
			t.Errorf("%+v: %v, %v", bad, kerr.ErrorForCode(code), level.Level())
		}
	}
}
