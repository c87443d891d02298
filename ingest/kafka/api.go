package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// api is one API key as this server has it.
type api struct {
	name         string
	key          int16
	min, max     int16 // versions served
	flexibleFrom int16 // the first version whose header has tagged fields

	// carriesRecords: frames may be as long as MaxRequestBytes, and decode into next to nothing.
	carriesRecords bool
	// mayWait: the handler may take long, so what was answered before goes out first.
	mayWait bool

	// Exactly one of the three is set.
	// begin runs in the reading goroutine, in order of arrival; the answer follows in its turn (Produce).
	begin func(*conn, *exchange) error
	// answer runs in its turn and encodes by itself (Fetch).
	answer func(context.Context, *call, kmsg.Request) error
	// handle runs in its turn.
	handle func(context.Context, *call, kmsg.Request) (kmsg.Response, error)
}

// call is what a handler knows of a request besides its body.
type call struct {
	conn   *conn
	header requestHeader
}

func (c *call) server() *Server  { return c.conn.server }
func (c *call) domain() *Domain  { return &c.conn.server.domain }
func (c *call) clientID() string { return string(c.header.clientID) }

func (a *api) serves(version int16) bool { return version >= a.min && version <= a.max }

// typed makes a handler of one request type one of any.
func typed[Req kmsg.Request](f func(context.Context, *call, Req) (kmsg.Response, error)) func(context.Context, *call, kmsg.Request) (kmsg.Response, error) {
	return func(ctx context.Context, c *call, request kmsg.Request) (kmsg.Response, error) {
		return f(ctx, c, request.(Req)) //nolint:forcetypeassert // kmsg.RequestForKey made it from the table's key
	}
}

const (
	keyProduce     = 0
	keyFetch       = 1
	keyApiVersions = 18
)

// produceAdvertisedMin: librdkafka takes a broker that does not name Produce v0 for one without compression (KAFKA-18659); Kafka
// names it and refuses it.
const produceAdvertisedMin = 0

// newApis is every API key served, at the versions Apache Kafka 4.1 serves (KIP-896 removed the oldest; unstable ones are not served).
// Dispatch and the ApiVersions answer both derive from it.
func newApis() *apiTable {
	return index([]*api{
		{name: "Produce", key: keyProduce, min: 3, max: 13, carriesRecords: true, begin: (*conn).beginProduce},
		{name: "Fetch", key: keyFetch, min: 4, max: 18, mayWait: true, answer: answerFetch},
		{name: "ListOffsets", key: 2, min: 1, max: 11, mayWait: true, handle: typed(handleListOffsets)},
		{name: "Metadata", key: 3, min: 0, max: 13, mayWait: true, handle: typed(handleMetadata)},
		{name: "ApiVersions", key: keyApiVersions, min: 0, max: 4, handle: typed(handleApiVersions)},
		{name: "InitProducerId", key: 22, min: 0, max: 5, mayWait: true, handle: typed(handleInitProducerID)},
	})
}

// apiTable is the table in order of key, and by key.
type apiTable struct {
	list  []*api
	byKey []*api
}

func index(list []*api) *apiTable {
	t := &apiTable{list: list, byKey: make([]*api, list[len(list)-1].key+1)}
	for _, a := range list {
		request := kmsg.RequestForKey(a.key)
		for a.flexibleFrom = a.min; a.flexibleFrom <= a.max; a.flexibleFrom++ {
			if request.SetVersion(a.flexibleFrom); request.IsFlexible() {
				break
			}
		}
		t.byKey[a.key] = a
	}
	return t
}

// lookup returns nil for a key that is not served.
func (t *apiTable) lookup(key int16) *api {
	if key < 0 || int(key) >= len(t.byKey) {
		return nil
	}
	return t.byKey[key]
}
