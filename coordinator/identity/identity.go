package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/varvelog/varve/infra/objstore"
)

// Key is the object's key.
const Key = "cluster.json"

// The formats this program reads and writes: that of a bucket as it was first made, and that of one whose metadata was recovered, which a
// program that looks for it in the first place must not touch.
const (
	FormatFirst     = 1
	FormatRecovered = 2
)

// The metalog backends.
const (
	MetalogJetStream = "jetstream"
	MetalogBucket    = "bucket"
)

const maxBytes = 64 << 10

// ErrNone: the bucket has no cluster.json.
var ErrNone = errors.New("bucket belongs to no cluster")

// ErrRefused: the bucket, the metalog and this program do not fit together. The message says how.
var ErrRefused = errors.New("refusing to start")

// ErrNewer: cluster.json is of a format, or names a metalog backend, that this program does not know. It is not damaged for that.
var ErrNewer = errors.New("a newer program may have written it")

// Cluster is what cluster.json says.
type Cluster struct {
	ClusterID string
	Metalog   string
	LogID     [16]byte
	Secret    []byte
	// Former are the logs that recoveries have replaced, the first one first.
	Former []FormerLog
	// Disks are the hot logs, by their UUIDs in hexadecimal, that the last recovery has left in the log: their directories go over to it.
	// All other hot logs of former times hold nothing that the log knows.
	Disks []string
}

type document struct {
	Format    int              `json:"format"`
	ClusterID string           `json:"cluster_id"`
	Metalog   string           `json:"metalog"`
	LogID     string           `json:"log_id"`
	Secret    string           `json:"internal_secret"`
	Former    []formerDocument `json:"former,omitempty"`
	Disks     []string         `json:"disks,omitempty"`
}

// Refuse makes the one line that a process ends with: what is wrong, the bucket, and the way out.
func Refuse(store fmt.Stringer, err error) error {
	if errors.Is(err, ErrNewer) {
		return fmt.Errorf("%w: bucket %s: %w; if it is damaged, delete %s, and `varve recover` rebuilds the metadata from the bucket", ErrRefused, store, err, Key)
	}
	return fmt.Errorf("%w: bucket %s: %w; `varve recover` rebuilds the metadata from the bucket", ErrRefused, store, err)
}

// Load reads the bucket's cluster.json. ErrNone where there is none, ErrRefused where it cannot be used.
func Load(ctx context.Context, store objstore.Store) (*Cluster, error) {
	cluster, _, err := LoadVersion(ctx, store)
	return cluster, err
}

// LoadVersion is Load, and tells the object's version, which Replace wants: also where the object cannot be used.
func LoadVersion(ctx context.Context, store objstore.Store) (*Cluster, objstore.Version, error) {
	body, info, err := store.Get(ctx, Key, 0, -1)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil, "", fmt.Errorf("%s: %w", store, ErrNone)
	}
	if err != nil {
		return nil, "", fmt.Errorf("read %s of %s: %w", Key, store, err)
	}
	if info.SizeBytes > maxBytes {
		return nil, info.Version, errors.Join(Refuse(store, fmt.Errorf("%s has %d bytes", Key, info.SizeBytes)), body.Close())
	}
	encoded, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		return nil, "", fmt.Errorf("read %s of %s: %w", Key, store, err)
	}
	cluster, err := decode(encoded)
	if err != nil {
		return nil, info.Version, Refuse(store, err)
	}
	return cluster, info.Version, nil
}

// LoadOrCreate reads the bucket's cluster.json, or makes the bucket a new cluster's whose log is kept by metalog. It refuses a
// bucket whose log is kept elsewhere.
func LoadOrCreate(ctx context.Context, store objstore.Store, metalog string) (*Cluster, error) {
	if metalog != MetalogJetStream && metalog != MetalogBucket {
		return nil, fmt.Errorf("metalog %q is neither %s nor %s", metalog, MetalogJetStream, MetalogBucket)
	}
	cluster, err := Load(ctx, store)
	if errors.Is(err, ErrNone) {
		cluster, err = create(ctx, store, metalog)
	}
	if err != nil {
		return nil, err
	}
	if cluster.Metalog != metalog {
		return nil, Refuse(store, fmt.Errorf("its metalog is kept on %s, not on %s", cluster.Metalog, metalog))
	}
	return cluster, nil
}

func create(ctx context.Context, store objstore.Store, metalog string) (*Cluster, error) {
	cluster := &Cluster{Metalog: metalog, Secret: make([]byte, 32)}
	var id [16]byte
	for _, random := range [][]byte{id[:], cluster.LogID[:], cluster.Secret} {
		// Never fails: it ends the program where the system has no randomness.
		_, _ = rand.Read(random)
	}
	cluster.ClusterID = base64.RawURLEncoding.EncodeToString(id[:])
	encoded, err := encode(cluster)
	if err != nil {
		return nil, err
	}
	_, err = store.PutIfAbsent(ctx, Key, encoded)
	if err != nil && !errors.Is(err, objstore.ErrExists) {
		return nil, fmt.Errorf("create %s in %s: %w", Key, store, err)
	}
	// Another process may have been first, or this one twice after a lost answer: what is there counts.
	return Load(ctx, store)
}

func encode(c *Cluster) ([]byte, error) {
	d := document{
		Format:    FormatFirst,
		ClusterID: c.ClusterID,
		Metalog:   c.Metalog,
		LogID:     hex.EncodeToString(c.LogID[:]),
		Secret:    hex.EncodeToString(c.Secret),
		Disks:     c.Disks,
	}
	for _, f := range c.Former {
		d.Format = FormatRecovered
		d.Former = append(d.Former, formerDocument{LogID: hex.EncodeToString(f.LogID[:]), Metalog: f.Metalog})
	}
	encoded, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", Key, err)
	}
	return append(encoded, '\n'), nil
}

func decode(encoded []byte) (*Cluster, error) {
	var d document
	err := json.Unmarshal(encoded, &d)
	switch { // of another format a field may have another type
	case d.Format > FormatRecovered:
		return nil, fmt.Errorf("%s has format %d, this program reads %d and %d: %w", Key, d.Format, FormatFirst, FormatRecovered, ErrNewer)
	case err != nil:
		return nil, fmt.Errorf("%s is not JSON of a Varve cluster: %w", Key, err)
	case d.Format < FormatFirst:
		return nil, fmt.Errorf("%s has format %d, this program reads %d and %d", Key, d.Format, FormatFirst, FormatRecovered)
	}
	if (d.Format == FormatRecovered) != (len(d.Former) > 0) {
		return nil, fmt.Errorf("%s has format %d and names %d former logs", Key, d.Format, len(d.Former))
	}
	c := &Cluster{ClusterID: d.ClusterID, Metalog: d.Metalog, Disks: d.Disks}
	if id, err := base64.RawURLEncoding.DecodeString(d.ClusterID); err != nil || len(id) != 16 {
		return nil, fmt.Errorf("%s: cluster_id %q is not 16 bytes in base64", Key, d.ClusterID)
	}
	if d.Metalog != MetalogJetStream && d.Metalog != MetalogBucket {
		err := fmt.Errorf("%s: metalog %q is neither %s nor %s", Key, d.Metalog, MetalogJetStream, MetalogBucket)
		if d.Metalog != "" {
			err = fmt.Errorf("%w: %w", err, ErrNewer)
		}
		return nil, err
	}
	if c.LogID, err = decodeLogID(d.LogID); err != nil {
		return nil, err
	}
	for _, f := range d.Former {
		id, err := decodeLogID(f.LogID)
		if err != nil {
			return nil, err
		}
		c.Former = append(c.Former, FormerLog{LogID: id, Metalog: f.Metalog})
	}
	if c.Secret, err = hex.DecodeString(d.Secret); err != nil || len(c.Secret) < 16 {
		return nil, fmt.Errorf("%s: internal_secret is not at least 16 bytes in hexadecimal", Key)
	}
	return c, nil
}
