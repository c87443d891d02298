package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/sub"
)

// FormerLog is a metadata log that a recovery has replaced. What the bucket holds of it stays where it is.
type FormerLog struct {
	LogID   [16]byte
	Metalog string
}

type formerDocument struct {
	LogID   string `json:"log_id"`
	Metalog string `json:"metalog"`
}

func decodeLogID(text string) (id [16]byte, err error) {
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%s: log_id %q is not 16 bytes in hexadecimal", Key, text)
	}
	return [16]byte(b), nil
}

// RecoveredPrefix is what the keys of recovered metadata begin with.
const RecoveredPrefix = "recovered/"

// Recovered says that the log began with a recovery.
func (c *Cluster) Recovered() bool { return len(c.Former) > 0 }

// MetadataPrefix is what stands before the keys of the cluster's metadata (meta/…): nothing, or of a recovered cluster a prefix of its log's
// own, so that whoever still writes for the former log writes elsewhere, and a recovery that is interrupted has changed nothing.
func (c *Cluster) MetadataPrefix() string {
	if !c.Recovered() {
		return ""
	}
	return fmt.Sprintf("%s%x/", RecoveredPrefix, c.LogID)
}

// Metadata is the part of the bucket in which the cluster's snapshots, archive and log are.
func (c *Cluster) Metadata(store objstore.Store) objstore.Store {
	if prefix := c.MetadataPrefix(); prefix != "" {
		return sub.New(store, prefix)
	}
	return store
}

// Formerly is the identity that the last recovery has replaced, without its secret; nil where there was none.
func (c *Cluster) Formerly() *Cluster {
	n := len(c.Former)
	if n == 0 {
		return nil
	}
	last := c.Former[n-1]
	return &Cluster{ClusterID: c.ClusterID, Metalog: last.Metalog, LogID: last.LogID, Former: c.Former[:n-1]}
}

// LogName names the log among others of the same cluster, on a NATS server that may hold former ones.
func (c *Cluster) LogName() string {
	if !c.Recovered() {
		return c.ClusterID
	}
	return fmt.Sprintf("%s_%x", c.ClusterID, c.LogID[:4])
}

// Lost stands for the identity that a bucket has lost, as far as its metadata tells it: the log, where that is kept, and whether it had itself begun with a
// recovery. Then one former log, of which no id is known, stands for all that were before it. The cluster's id is a new one.
func Lost(metalog string, logID [16]byte, recovered bool) *Cluster {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	c := &Cluster{ClusterID: base64.RawURLEncoding.EncodeToString(id[:]), Metalog: metalog, LogID: logID}
	if recovered {
		c.Former = []FormerLog{{Metalog: metalog}}
	}
	return c
}

// Successor is the identity that takes the place of c: of the same cluster, with a log and a secret that nobody knows yet.
func Successor(c *Cluster) *Cluster {
	next := &Cluster{ClusterID: c.ClusterID, Metalog: c.Metalog, Secret: make([]byte, 32)}
	_, _ = rand.Read(next.LogID[:]) // never fails
	_, _ = rand.Read(next.Secret)
	next.Former = append(append(next.Former, c.Former...), FormerLog{LogID: c.LogID, Metalog: c.Metalog})
	return next
}

// WasOf says whether a recovery has replaced the log with this id.
func (c *Cluster) WasOf(logID [16]byte) bool {
	for _, f := range c.Former {
		if f.LogID == logID {
			return true
		}
	}
	return false
}

// Check reads the bucket's cluster.json again. ErrSucceeded: a recovery has taken place, and this process is of a former log.
func Check(ctx context.Context, store objstore.Store, mine *Cluster) error {
	there, err := Load(ctx, store)
	if err != nil {
		return err
	}
	if there.LogID != mine.LogID {
		return fmt.Errorf("bucket %s: its log is %x, this process is of log %x: %w", store, there.LogID, mine.LogID, ErrSucceeded)
	}
	return nil
}

// ErrSucceeded: the bucket's metadata was recovered after this process had started.
var ErrSucceeded = errors.New("the bucket's metadata was recovered without this process")

// ErrReplaced: somebody else has changed cluster.json meanwhile.
var ErrReplaced = errors.New("another process has replaced the bucket's identity")

// Replace puts next in the place of the cluster.json of the version given, "" where there is none. It is one conditional write: with
// ErrReplaced nothing has changed.
func Replace(ctx context.Context, store objstore.Store, next *Cluster, old objstore.Version) error {
	encoded, err := encode(next)
	if err != nil {
		return err
	}
	if old == "" {
		_, err = store.PutIfAbsent(ctx, Key, encoded)
	} else {
		_, err = store.PutIfMatch(ctx, Key, encoded, old)
	}
	if err == nil {
		return nil
	}
	// The answer may have been lost on the way.
	if there, loadErr := Load(ctx, store); loadErr == nil && reflect.DeepEqual(there, next) {
		return nil
	}
	if errors.Is(err, objstore.ErrExists) || errors.Is(err, objstore.ErrConditionFailed) {
		return fmt.Errorf("replace %s of %s: %w", Key, store, ErrReplaced)
	}
	return fmt.Errorf("replace %s of %s: %w", Key, store, err)
}
