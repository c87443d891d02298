package kafka

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

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
	// brief: small, frequent, and at most a round to the leader away from its answer, however long mayWait makes it in bad times. Alone on its
	// connection such a request is answered by the goroutine that has read it: waking another costs more than the answer.
	brief bool

	// Exactly one of the four is set.
	// begin runs in the reading goroutine, in order of arrival; the answer follows in its turn (Produce).
	begin func(*conn, *exchange) error
	// answer runs in its turn and encodes by itself (Fetch).
	answer func(context.Context, *call, kmsg.Request) error
	// later runs in its turn and never waits: it answers by a call, during its own or later from any goroutine, which the call does not keep.
	later func(*call, kmsg.Request, func(kmsg.Response))
	// handle runs in its turn.
	handle func(context.Context, *call, kmsg.Request) (kmsg.Response, error)
}

// call is what a handler knows of a request besides its body.
type call struct {
	conn   *conn
	header requestHeader
	// elsewhere: the client may have gone to another node meanwhile. The connection is closed, and nothing answered.
	elsewhere bool

	// wait is how long the client has to wait for what the handler did.
	wait struct {
		sync.Mutex
		longest time.Duration
	}
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

// typedLater is typed for handlers that answer by a call.
func typedLater[Req kmsg.Request](f func(*call, Req, func(kmsg.Response))) func(*call, kmsg.Request, func(kmsg.Response)) {
	return func(c *call, request kmsg.Request, answer func(kmsg.Response)) {
		f(c, request.(Req), answer) //nolint:forcetypeassert // kmsg.RequestForKey made it from the table's key
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
	return index(slices.Concat(adminApis(), shareApis(), []*api{
		{name: "Produce", key: keyProduce, min: 3, max: 13, carriesRecords: true, begin: (*conn).beginProduce},
		{name: "Fetch", key: keyFetch, min: 4, max: 18, mayWait: true, answer: answerFetch},
		{name: "ListOffsets", key: 2, min: 1, max: 10, mayWait: true, handle: typed(handleListOffsets)},
		{name: "Metadata", key: 3, min: 0, max: 13, mayWait: true, handle: typed(handleMetadata)},
		{name: "OffsetCommit", key: 8, min: 2, max: 9, mayWait: true, handle: typed(handleOffsetCommit)},
		{name: "OffsetFetch", key: 9, min: 1, max: 9, mayWait: true, handle: typed(handleOffsetFetch)},
		{name: "FindCoordinator", key: 10, min: 0, max: 6, mayWait: true, handle: typed(handleFindCoordinator)},
		{name: "JoinGroup", key: 11, min: 0, max: 9, mayWait: true, handle: typed(handleJoinGroup)},
		{name: "Heartbeat", key: 12, min: 0, max: 4, mayWait: true, brief: true, later: typedLater(beginHeartbeat)},
		{name: "LeaveGroup", key: 13, min: 0, max: 5, mayWait: true, handle: typed(handleLeaveGroup)},
		{name: "SyncGroup", key: 14, min: 0, max: 5, mayWait: true, handle: typed(handleSyncGroup)},
		{name: "DescribeGroups", key: 15, min: 0, max: 6, mayWait: true, handle: typed(handleDescribeGroups)},
		{name: "ListGroups", key: 16, min: 0, max: 5, mayWait: true, handle: typed(handleListGroups)},
		{name: "ApiVersions", key: keyApiVersions, min: 0, max: 4, handle: typed(handleApiVersions)},
		{name: "CreateTopics", key: 19, min: 2, max: 7, mayWait: true, handle: typed(handleCreateTopics)},
		{name: "DeleteTopics", key: 20, min: 1, max: 6, mayWait: true, handle: typed(handleDeleteTopics)},
		{name: "InitProducerId", key: 22, min: 0, max: 5, mayWait: true, handle: typed(handleInitProducerID)},
		{name: "AddPartitionsToTxn", key: 24, min: 0, max: 5, mayWait: true, handle: typed(handleAddPartitionsToTxn)},
		{name: "AddOffsetsToTxn", key: 25, min: 0, max: 4, mayWait: true, handle: typed(handleAddOffsetsToTxn)},
		{name: "EndTxn", key: 26, min: 0, max: 5, mayWait: true, handle: typed(handleEndTxn)},
		{name: "WriteTxnMarkers", key: 27, min: 1, max: 1, mayWait: true, handle: typed(handleWriteTxnMarkers)},
		{name: "TxnOffsetCommit", key: 28, min: 0, max: 5, mayWait: true, handle: typed(handleTxnOffsetCommit)},
		{name: "DescribeConfigs", key: 32, min: 1, max: 4, handle: typed(handleDescribeConfigs)},
		{name: "AlterConfigs", key: 33, min: 0, max: 2, mayWait: true, handle: typed(handleAlterConfigs)},
		{name: "CreatePartitions", key: 37, min: 0, max: 3, mayWait: true, handle: typed(handleCreatePartitions)},
		{name: "DeleteGroups", key: 42, min: 0, max: 2, mayWait: true, handle: typed(handleDeleteGroups)},
		{name: "IncrementalAlterConfigs", key: 44, min: 0, max: 1, mayWait: true, handle: typed(handleIncrementalAlterConfigs)},
		{name: "OffsetDelete", key: 47, min: 0, max: 0, mayWait: true, handle: typed(handleOffsetDelete)},
		{name: "DescribeCluster", key: 60, min: 0, max: 2, handle: typed(handleDescribeCluster)},
		{name: "DescribeProducers", key: 61, min: 0, max: 0, mayWait: true, handle: typed(handleDescribeProducers)},
		{name: "DescribeTransactions", key: 65, min: 0, max: 0, mayWait: true, handle: typed(handleDescribeTransactions)},
		{name: "ListTransactions", key: 66, min: 0, max: 2, mayWait: true, handle: typed(handleListTransactions)},
		{name: "ConsumerGroupHeartbeat", key: 68, min: 0, max: 1, mayWait: true, brief: true, later: typedLater(beginConsumerGroupHeartbeat)},
		{name: "ConsumerGroupDescribe", key: 69, min: 0, max: 1, mayWait: true, handle: typed(handleConsumerGroupDescribe)},
		{name: "StreamsGroupHeartbeat", key: 88, min: 0, max: 0, mayWait: true, brief: true, handle: typed(handleStreamsGroupHeartbeat)},
		{name: "StreamsGroupDescribe", key: 89, min: 0, max: 0, mayWait: true, handle: typed(handleStreamsGroupDescribe)},
	}))
}

// apiTable is the table in order of key, and by key.
type apiTable struct {
	list  []*api
	byKey []*api
}

func index(list []*api) *apiTable {
	slices.SortFunc(list, func(x, y *api) int { return cmp.Compare(x.key, y.key) })
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
