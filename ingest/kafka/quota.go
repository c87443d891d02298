package kafka

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/varvelog/varve/coordinator/meta"
)

// Quotas bound what clients may do on a node: bytes produced and fetched, time of the node's own, changes of partitions, new connections. Each
// quota of each user, client or address has a token bucket here. A request that takes more than is there is served and answered with the time
// after which the debt is paid (throttle_time_ms), and until then the node reads nothing of the connection (KIP-219).

// quotaKind numbers the quotas of users and clients.
type quotaKind uint8

const (
	produceQuota quotaKind = iota
	fetchQuota
	requestQuota
	mutationQuota
	quotaKinds // of users and clients

	connectionQuota = quotaKinds // of addresses, and of the node
)

var quotaNames = [quotaKinds]string{meta.ProducerByteRate, meta.ConsumerByteRate, meta.RequestPercentage, meta.ControllerMutationRate}

const (
	// quotaBurst is how many seconds' worth a bucket holds: what Kafka's window of eleven samples lets through at once.
	quotaBurst = 10
	// maxRequestThrottle bounds the wait for a request quota, as Kafka bounds it to a sample of its window.
	maxRequestThrottle = time.Second
	// quotaRefresh is how old what a node knows of the quotas may be.
	quotaRefresh = 100 * time.Millisecond
	// maxQuotaBuckets bounds the buckets kept; at the bound those that are full, which hold nothing worth remembering, go.
	maxQuotaBuckets = 10_000
	// bucketSweep is how often those are looked for at most: whoever has another name for every request waits for nobody's buckets.
	bucketSweep = time.Second
)

// quotas is a node's quotas.
type quotas struct {
	metadata Metadata
	table    atomic.Pointer[quotaTable]
	began    time.Time
	due      atomic.Int64 // when the table is looked at again, nanoseconds after began

	mu struct {
		sync.Mutex
		buckets map[bucketKey]*tokenBucket
		swept   time.Time // when full ones were looked for last
	}
}

// quotaTable is what a node knows of the cluster's quotas. It is never changed.
type quotaTable struct {
	clients *meta.ClientQuotas
}

// bucketKey is whose bucket it is: a name is there where the entity that sets the quota tells by it.
type bucketKey struct {
	kind             quotaKind
	byUser, byClient bool
	user, clientID   string
	address          string // of connectionQuota; empty for the node's own
}

func newQuotas(metadata Metadata) *quotas {
	q := &quotas{metadata: metadata, began: time.Now()}
	q.table.Store(&quotaTable{clients: &meta.ClientQuotas{}})
	q.mu.buckets = make(map[bucketKey]*tokenBucket)
	return q
}

// stale makes the next request look at the quotas anew.
func (q *quotas) stale() { q.due.Store(0) }

// current returns the quotas as of at most quotaRefresh ago. It allocates only when they have changed.
func (q *quotas) current(now time.Time) *quotaTable {
	due, nanos := q.due.Load(), int64(now.Sub(q.began)) // the time of day may be put back
	if nanos < due || !q.due.CompareAndSwap(due, nanos+int64(quotaRefresh)) {
		return q.table.Load()
	}
	var clients *meta.ClientQuotas
	q.metadata.View(func(s *meta.State) { clients = s.ClientQuotas() })
	table := q.table.Load()
	if table.clients != clients {
		table = &quotaTable{clients: clients}
		q.table.Store(table)
	}
	return table
}

// bucket finds or makes a bucket with a rate.
func (q *quotas) bucket(key bucketKey, rate float64, now time.Time) *tokenBucket {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := q.mu.buckets[key]
	if b == nil {
		if len(q.mu.buckets) >= maxQuotaBuckets && now.Sub(q.mu.swept) >= bucketSweep {
			q.mu.swept = now
			for k, b := range q.mu.buckets {
				if b.full(now) {
					delete(q.mu.buckets, k)
				}
			}
		}
		b = newTokenBucket(rate, now)
		if len(q.mu.buckets) < maxQuotaBuckets {
			q.mu.buckets[key] = b
		}
	}
	b.setRate(rate, now)
	return b
}

// quotaClient finds the buckets of a connection's requests. Each goroutine of a connection has its own.
type quotaClient struct {
	table    *quotaTable
	clientID string
	buckets  [quotaKinds]*tokenBucket // nil: no quota
}

// look finds the buckets of a client id, where they are not at hand.
func (c *quotaClient) look(q *quotas, clientID []byte, now time.Time) {
	table := q.current(now)
	if table == c.table && c.clientID == string(clientID) {
		return
	}
	c.table, c.clientID = table, string(clientID)
	for kind := range quotaKinds {
		c.buckets[kind] = nil
		rate, on, ok := table.clients.Lookup(quotaNames[kind], anonymousName, c.clientID)
		if !ok {
			continue
		}
		key := bucketKey{kind: kind, byUser: on.User.Kind != meta.QuotaAbsent, byClient: on.ClientID.Kind != meta.QuotaAbsent}
		if key.byUser {
			key.user = anonymousName
		}
		if key.byClient {
			key.clientID = c.clientID
		}
		c.buckets[kind] = q.bucket(key, rate, now)
	}
}

// charge takes amount and returns how long the client has to wait for it.
func (c *quotaClient) charge(kind quotaKind, amount float64, now time.Time) time.Duration {
	b := c.buckets[kind]
	if b == nil {
		return 0
	}
	wait := b.take(amount, now)
	if kind == requestQuota {
		wait = min(wait, maxRequestThrottle)
	}
	return wait
}

// tokenBucket holds up to quotaBurst seconds' worth of a rate. What is taken beyond that is a debt.
type tokenBucket struct {
	mu struct {
		sync.Mutex
		rate, tokens float64
		at           time.Time
	}
}

func newTokenBucket(rate float64, now time.Time) *tokenBucket {
	b := &tokenBucket{}
	b.mu.rate, b.mu.tokens, b.mu.at = rate, rate*quotaBurst, now
	return b
}

func (b *tokenBucket) refill(now time.Time) {
	if elapsed := now.Sub(b.mu.at); elapsed > 0 {
		b.mu.tokens = min(b.mu.tokens+elapsed.Seconds()*b.mu.rate, b.mu.rate*quotaBurst)
		b.mu.at = now
	}
}

// take takes amount, and returns the time until what is owed is paid.
func (b *tokenBucket) take(amount float64, now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(now)
	b.mu.tokens -= amount
	return b.owed()
}

// takeUnlessOwing takes amount, which may make a debt, but nothing where there is one already.
func (b *tokenBucket) takeUnlessOwing(amount float64, now time.Time) (wait time.Duration, taken bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(now)
	if b.mu.tokens < 0 {
		return b.owed(), false
	}
	b.mu.tokens -= amount
	return b.owed(), true
}

func (b *tokenBucket) owed() time.Duration {
	if b.mu.tokens >= 0 {
		return 0
	}
	if b.mu.rate <= 0 {
		return maxThrottle
	}
	return time.Duration(min(-b.mu.tokens/b.mu.rate*float64(time.Second), float64(maxThrottle)))
}

// maxThrottle bounds a throttle time to what its field can say.
const maxThrottle = math.MaxInt32 * time.Millisecond

// capacity is the most that can be taken without a debt.
func (b *tokenBucket) capacity() float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.mu.rate * quotaBurst
}

func (b *tokenBucket) full(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill(now)
	return b.mu.tokens >= b.mu.rate*quotaBurst
}

// setRate changes the rate. A debt is not forgiven, and what is above the new bound is lost.
func (b *tokenBucket) setRate(rate float64, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.mu.rate == rate {
		return
	}
	b.refill(now)
	if b.mu.rate = rate; b.mu.tokens > rate*quotaBurst {
		b.mu.tokens = rate * quotaBurst
	}
}
