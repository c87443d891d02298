package kafka

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/coordinator/meta"
)

// TestSettingGivenAtStartIsShownBehindWhatAdministratorsSet goes through a node's own value, the cluster's, and what the node was started with.
func TestSettingGivenAtStartIsShownBehindWhatAdministratorsSet(t *testing.T) {
	const name = meta.ObjectPutsPerSecond
	c := newCluster(t)
	server, addr := start(t, c, Config{Static: map[string]string{name: "7.5"}})
	client := dial(t, addr)
	node := fmt.Sprint(int32(server.config.NodeID))
	alter := func(resource string, value *string) {
		t.Helper()
		op := kmsg.IncrementalAlterConfigOpSet
		if value == nil {
			op = kmsg.IncrementalAlterConfigOpDelete
		}
		request := kmsg.NewPtrIncrementalAlterConfigsRequest()
		request.Resources = []kmsg.IncrementalAlterConfigsRequestResource{{
			ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: resource,
			Configs: []kmsg.IncrementalAlterConfigsRequestResourceConfig{{Name: name, Op: op, Value: value}},
		}}
		if got := client.request(request).(*kmsg.IncrementalAlterConfigsResponse).Resources[0]; got.ErrorCode != 0 {
			t.Fatal(orEmpty(got.ErrorMessage))
		}
	}
	expect := func(want ...string) {
		t.Helper()
		request := kmsg.NewPtrDescribeConfigsRequest()
		request.Version, request.IncludeSynonyms = 4, true
		request.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeBroker, ResourceName: node, ConfigNames: []string{name}}}
		configs := client.request(request).(*kmsg.DescribeConfigsResponse).Resources[0].Configs
		if len(configs) != 1 {
			t.Fatalf("%d settings", len(configs))
		}
		got := []string{fmt.Sprintf("%s of %d", orEmpty(configs[0].Value), configs[0].Source)}
		for _, s := range configs[0].ConfigSynonyms {
			got = append(got, fmt.Sprintf("%s of %d", orEmpty(s.Value), s.Source))
		}
		if !slices.Equal(got, want) || configs[0].ReadOnly {
			t.Errorf("%q, want %q", got, want)
		}
	}
	static, behind := fmt.Sprintf("7.5 of %d", meta.SourceStatic), fmt.Sprintf("10.0 of %d", meta.SourceDefault)
	expect(static, static, behind)

	alter("", kmsg.StringPtr("20"))
	clusters := fmt.Sprintf("20.0 of %d", meta.SourceClusterDefault)
	expect(clusters, clusters, static, behind)

	alter(node, kmsg.StringPtr("0.5"))
	own := fmt.Sprintf("0.5 of %d", meta.SourceBroker)
	expect(own, own, clusters, static, behind)

	alter(node, nil)
	alter("", nil)
	expect(static, static, behind)
}
