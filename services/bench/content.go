package bench

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// content makes records that compress as logs and change events do: the same seed gives the same bytes.
type content struct {
	random *rand.Rand
	millis int64
	line   []byte
}

func newContent(seed uint64) *content {
	return &content{random: rand.New(rand.NewPCG(seed, 0x76617276)), millis: time.Now().UnixMilli()}
}

var (
	contentPaths  = []string{"/api/v1/orders", "/api/v1/orders/items", "/login", "/static/app.js", "/healthz", "/api/v2/customers", "/search", "/checkout"}
	contentAgents = []string{"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36", "curl/8.5.0", "Go-http-client/2.0", "okhttp/4.12.0"}
	contentStates = []string{"created", "paid", "packed", "shipped", "delivered", "returned"}
)

func oneOf(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

// next returns a value of about 150 to 300 bytes, which the next call overwrites: alternately an access log line and a change event.
func (c *content) next() []byte {
	c.millis += int64(c.random.IntN(3))
	r := c.random
	if r.IntN(2) == 0 {
		c.line = fmt.Appendf(c.line[:0], `10.%d.%d.%d - - [%d] "GET %s/%d?session=%016x HTTP/1.1" %d %d "-" "%s" rt=0.%03d`,
			r.IntN(4), r.IntN(256), r.IntN(256), c.millis, oneOf(r, contentPaths), r.IntN(100_000), r.Uint64(), 200+r.IntN(5)*r.IntN(2), r.IntN(50_000), oneOf(r, contentAgents), r.IntN(1000))
		return c.line
	}
	c.line = fmt.Appendf(c.line[:0], `{"op":"u","ts_ms":%d,"source":{"db":"shop","table":"orders","lsn":%d},"before":null,"after":{"id":%d,"customer_id":%d,"status":"%s","total_cents":%d,"currency":"EUR","token":"%08x"}}`,
		c.millis, 40_000_000_000+c.random.Int64N(1<<30), r.IntN(10_000_000), r.IntN(500_000), oneOf(r, contentStates), r.IntN(1_000_000), r.Uint32())
	return c.line
}

// batch makes a record batch with at least uncompressedBytes of records, compressed with codec.
func (c *content) batch(codec recordbatch.Codec, uncompressedBytes int) ([]byte, error) {
	builder := recordbatch.NewBuilder(recordbatch.BuilderOptions{Codec: codec})
	var key [8]byte
	for offset := int64(0); builder.SizeBytes() < uncompressedBytes; offset++ {
		value := c.next()
		key = [8]byte(fmt.Appendf(key[:0], "%08d", c.random.IntN(100_000)))
		if err := builder.Append(offset, c.millis, key[:], value, nil); err != nil {
			return nil, fmt.Errorf("make batch: %w", err)
		}
	}
	batch, _, err := builder.Build(nil)
	if err != nil {
		return nil, fmt.Errorf("make batch: %w", err)
	}
	return batch, nil
}

// batchAbove makes a compressed batch of at least wireBytes, of which it first guesses how many records that takes.
func (c *content) batchAbove(codec recordbatch.Codec, wireBytes int) ([]byte, error) {
	size := wireBytes * 3
	for {
		batch, err := c.batch(codec, size)
		if err != nil || len(batch) >= wireBytes {
			return batch, err
		}
		size += max(size*(wireBytes-len(batch))/wireBytes, size/50)
	}
}

// single makes a batch of one record with a value of valueBytes.
func (c *content) single(codec recordbatch.Codec, valueBytes int) ([]byte, error) {
	var value []byte
	for len(value) < valueBytes {
		value = append(value, c.next()...)
	}
	builder := recordbatch.NewBuilder(recordbatch.BuilderOptions{Codec: codec})
	if err := builder.Append(0, c.millis, nil, value[:valueBytes], nil); err != nil {
		return nil, fmt.Errorf("make record: %w", err)
	}
	batch, _, err := builder.Build(nil)
	if err != nil {
		return nil, fmt.Errorf("make record: %w", err)
	}
	return batch, nil
}
