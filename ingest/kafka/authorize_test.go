package kafka

import (
	"reflect"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// nothing allows nothing.
type nothing struct{}

func (nothing) Allowed(Access) bool { return false }

func TestEveryAPIAsksTheAuthorizer(t *testing.T) {
	c := newCluster(t)
	s, addr := start(t, c, Config{Authorizer: nothing{}})
	id := c.createTopic(t, "topic", 2)
	c.createTopic(t, "growing", 1)
	c.createTopic(t, "doomed-g", 1)
	refusals := []int16{
		kerr.TopicAuthorizationFailed.Code, kerr.GroupAuthorizationFailed.Code, kerr.ClusterAuthorizationFailed.Code,
		kerr.TransactionalIDAuthorizationFailed.Code,
	}
	open := []string{"ApiVersions", "DescribeCluster", "ListGroups", "ListTransactions"} // they tell nothing, or leave out what may not be told
	open = append(open, openAdmin...)
	client := dial(t, addr)
	for _, api := range s.apis.list {
		request := kmsg.RequestForKey(api.key)
		request.SetVersion(api.max)
		request.(interface{ Default() }).Default()
		codes := errorCodes(reflect.ValueOf(client.request(fill(request, "topic", id))))
		refused := slices.ContainsFunc(codes, func(code int16) bool { return slices.Contains(refusals, code) })
		if refused == slices.Contains(open, api.name) {
			t.Errorf("%s: %v", api.name, codes)
		}
	}
	if len(c.stored(id, 0)) > 0 {
		t.Error("a record is stored")
	}
	all := client.request(kmsg.NewPtrMetadataRequest()).(*kmsg.MetadataResponse)
	if len(all.Topics) > 0 {
		t.Errorf("topics are listed: %+v", all.Topics)
	}
}
