package config

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/varvelog/varve/coordinator/election"
	"github.com/varvelog/varve/infra/bus"
)

// Role is a set of the parts that one process runs.
type Role uint8

// The roles. RoleServe is all of them in one process.
const (
	RoleCoordinator Role = 1 << iota
	RoleIngest
	RoleTiering
	RoleServe = RoleCoordinator | RoleIngest | RoleTiering
)

// Config is everything an operator can set. The tags give each field's name (a flag, a YAML key, and in upper case with
// VARVE_ in front an environment variable), default and explanation.
type Config struct {
	DataDir                string `name:"data-dir" default:"./varve-data" usage:"directory for the hot log, the metadata log and, unless --bucket says otherwise, the bucket"`
	KafkaAddr              string `name:"kafka-addr" default:"127.0.0.1:9092" usage:"address on which Kafka clients are served"`
	AdvertisedAddr         string `name:"advertised-addr" usage:"host:port that clients are told to connect to (default: --kafka-addr)"`
	HTTPAddr               string `name:"http-addr" default:"127.0.0.1:8080" usage:"address of /healthz, /readyz and /metrics"`
	InternalAddr           string `name:"internal-addr" default:"127.0.0.1:9644" usage:"address on which Varve's processes serve each other"`
	AdvertisedInternalAddr string `name:"advertised-internal-addr" usage:"host:port that Varve's other processes are told to connect to (default: --internal-addr)"`
	NATSAddr               string `name:"nats-addr" default:"127.0.0.1:4222" usage:"address on which the embedded NATS server listens"`
	NATSClusterAddr        string `name:"nats-cluster-addr" usage:"address on which the embedded NATS server is reached by its peers' (default: this node's in --peers)"`
	NATSURL                string `name:"nats-url" usage:"use this NATS server instead of an embedded one, nats://host:port; several, separated by commas, of one NATS cluster"`
	NodeID                 int    `name:"node-id" usage:"number of this coordinator among --peers"`
	PeerList               string `name:"peers" usage:"the coordinators of the cluster, number=host:internalport:natsport,… where natsport is that of --nats-cluster-addr; other roles find the leader by it where NATS does not answer"`
	Metalog                string `name:"metalog" default:"jetstream" usage:"where the metadata log is kept: jetstream or bucket"`
	Bucket                 string `name:"bucket" usage:"file:///dir, s3://bucket/prefix?region=… or minio://host:port/bucket/prefix?secure=false (default: a directory under --data-dir)"`
	Zone                   string `name:"zone" usage:"availability zone of this process"`
	ZoneListeners          string `name:"zone-listeners" usage:"further addresses for Kafka clients, each for those of one zone: zone=host:port or zone=host:port@advertised-host:port, with commas between them"`

	LogLevel  string `name:"log-level" default:"info" usage:"debug, info, warn or error"`
	LogFormat string `name:"log-format" default:"text" usage:"text or json"`

	HotSegmentBytes Bytes         `name:"hot-segment-bytes" default:"64MiB" usage:"size at which a segment of the hot log is sealed"`
	HotLogBytes     Bytes         `name:"hot-log-bytes" default:"0" usage:"bound on the hot log; producers are slowed down from four fifths of it on, and refused at it (0: what the disk has)"`
	SealAge         time.Duration `name:"seal-age" default:"30s" usage:"age at which a segment of the hot log that holds anything is sealed"`
	ObjectPuts      float64       `name:"object-puts-per-second" default:"10" usage:"chunks a second that this node may PUT for topics with varve.durability=object, unless varve.object.puts.per.second is set"`
	RequestMemory   Bytes         `name:"request-memory" default:"256MiB" usage:"bytes of produce requests in flight before clients are made to wait"`
	FetchMemory     Bytes         `name:"fetch-memory" default:"128MiB" usage:"bytes of fetch answers in flight"`
	CacheBytes      Bytes         `name:"cache-bytes" default:"128MiB" usage:"RAM for ranges of objects read from the bucket"`
	MaxConnections  int           `name:"max-connections" default:"10000" usage:"Kafka connections open at once"`
	OrphanAge       time.Duration `name:"orphan-age" default:"24h" usage:"age from which objects that nothing refers to are swept"`
	SweepInterval   time.Duration `name:"sweep-interval" default:"1h" usage:"how often the bucket is searched for orphans, and what could not be deleted is tried again"`
	DeleteDelay     time.Duration `name:"delete-delay" default:"1m" usage:"how long deleted objects are left to readers under way"`
	SnapshotEntries int           `name:"snapshot-entries" default:"0" usage:"metadata log entries between two snapshots; 0: 10000, or 2000 where each is an object in the bucket"`
	ShipBytes       Bytes         `name:"ship-bytes" default:"256MiB" usage:"hot bytes that one tiering job takes at most"`
	CompactInterval time.Duration `name:"compact-interval" default:"15s" usage:"how often a tiering worker looks for partitions to compact"`
	CompactMemory   Bytes         `name:"compact-memory" default:"128MiB" usage:"memory for the keys of a partition that is compacted, 24 bytes each; where they do not fit, it takes several rounds"`
	MergeAge        time.Duration `name:"merge-age" default:"10m" usage:"age from which a tiering worker puts small parts of a partition together in the bucket; 0: never"`
	JobLease        time.Duration `name:"job-lease" default:"2m" usage:"how long a tiering job is one worker's alone; what a worker that died had taken waits that long"`
	DrainTimeout    time.Duration `name:"drain-timeout" default:"10s" usage:"how long a stopping process waits for what is in flight, and for what is on its disk to be shipped"`

	// Peers is PeerList, read by Validate.
	Peers election.Peers

	// sources says where each field that has a value was set, in the words of FieldError; Load fills it.
	sources map[string]string
}

// FieldError is a wrong value: it names the field as the operator can find it.
type FieldError struct {
	Field  string // the flag's name
	Value  string
	Reason string
	Source string // "flag --x", "environment variable VARVE_X", "file.yaml:3", or empty
}

func (e *FieldError) Error() string {
	from := ""
	if e.Source != "" {
		from = " (" + e.Source + ")"
	}
	return fmt.Sprintf("configuration: %s=%q%s: %s", e.Field, e.Value, from, e.Reason)
}

// Validate checks the fields that the role uses, and fills those whose default depends on others.
func (c *Config) Validate(role Role) error {
	checks := []func(Role) error{c.validatePeers, c.validateAddresses, c.validateMetadata, c.validateLimits}
	for _, check := range checks {
		if err := check(role); err != nil {
			return c.sourced(err)
		}
	}
	return nil
}

// sourced adds to a FieldError where the operator has set the field.
func (c *Config) sourced(err error) error {
	var wrong *FieldError
	if errors.As(err, &wrong) && wrong.Source == "" {
		wrong.Source = c.sources[wrong.Field]
	}
	return err
}

func (c *Config) validateMetadata(role Role) error {
	if c.DataDir == "" {
		return &FieldError{Field: "data-dir", Reason: "must not be empty"}
	}
	if c.Metalog != "jetstream" && c.Metalog != "bucket" {
		return &FieldError{Field: "metalog", Value: c.Metalog, Reason: "want jetstream or bucket"}
	}
	if c.NATSURL == "" && role&RoleCoordinator == 0 {
		c.NATSURL = "nats://127.0.0.1:4222"
	}
	for _, one := range strings.Split(c.NATSURL, ",") {
		u, err := url.Parse(one)
		if c.NATSURL != "" && (err != nil || u.Hostname() == "" || (u.Scheme != "nats" && u.Scheme != "tls") || !isNATSPort(u.Port())) {
			return &FieldError{Field: "nats-url", Value: bus.Redact(c.NATSURL), Reason: "want nats://host:port, or several separated by commas"}
		}
	}
	if c.Bucket == "" {
		if role != RoleServe {
			return &FieldError{Field: "bucket", Reason: "must be set where roles run in processes of their own, and be the same for all of them"}
		}
		dir, err := filepath.Abs(filepath.Join(c.DataDir, "bucket"))
		if err != nil {
			return &FieldError{Field: "data-dir", Value: c.DataDir, Reason: err.Error()}
		}
		c.Bucket = "file://" + dir
	}
	if scheme, _, found := strings.Cut(c.Bucket, "://"); !found || (scheme != "file" && scheme != "s3" && scheme != "minio") {
		return &FieldError{Field: "bucket", Value: c.Bucket, Reason: "want file:///dir, s3://bucket/prefix or minio://host:port/bucket/prefix"}
	}
	return nil
}

func (c *Config) validateLimits(Role) error {
	switch c.LogLevel {
	case "debug", "info", "warn", "error":
	default:
		return &FieldError{Field: "log-level", Value: c.LogLevel, Reason: "want debug, info, warn or error"}
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		return &FieldError{Field: "log-format", Value: c.LogFormat, Reason: "want text or json"}
	}
	bytes := []struct {
		field    string
		value    Bytes
		min, max Bytes
	}{
		{"hot-segment-bytes", c.HotSegmentBytes, 16 * MiB, 2 * GiB},
		{"request-memory", c.RequestMemory, 16 * MiB, 1 << 40},
		{"fetch-memory", c.FetchMemory, 16 * MiB, 1 << 40},
		{"cache-bytes", c.CacheBytes, 8 * MiB, 1 << 40},
		{"ship-bytes", c.ShipBytes, 16 * MiB, 1 << 40},
		{"compact-memory", c.CompactMemory, 1 * MiB, 1 << 40},
	}
	for _, b := range bytes {
		if b.value < b.min || b.value > b.max {
			return &FieldError{Field: b.field, Value: b.value.String(), Reason: fmt.Sprintf("want %s to %s", b.min, b.max)}
		}
	}
	durations := []struct {
		field string
		value time.Duration
		min   time.Duration
	}{
		{"seal-age", c.SealAge, 100 * time.Millisecond},
		{"orphan-age", c.OrphanAge, time.Minute},
		{"sweep-interval", c.SweepInterval, time.Second},
		{"delete-delay", c.DeleteDelay, 0},
		{"compact-interval", c.CompactInterval, 100 * time.Millisecond},
		{"merge-age", c.MergeAge, 0},
		{"job-lease", c.JobLease, time.Second},
		{"drain-timeout", c.DrainTimeout, 0},
	}
	for _, d := range durations {
		if d.value < d.min {
			return &FieldError{Field: d.field, Value: d.value.String(), Reason: fmt.Sprintf("want at least %s", d.min)}
		}
	}
	if c.HotLogBytes != 0 && c.HotLogBytes < 4*c.HotSegmentBytes {
		return &FieldError{Field: "hot-log-bytes", Value: c.HotLogBytes.String(), Reason: "want 0, or at least four times --hot-segment-bytes"}
	}
	if c.ObjectPuts <= 0 {
		return &FieldError{Field: "object-puts-per-second", Value: fmt.Sprint(c.ObjectPuts), Reason: "want more than 0"}
	}
	if c.MaxConnections < 1 {
		return &FieldError{Field: "max-connections", Value: fmt.Sprint(c.MaxConnections), Reason: "want at least 1"}
	}
	if c.SnapshotEntries != 0 && c.SnapshotEntries < 10 {
		return &FieldError{Field: "snapshot-entries", Value: fmt.Sprint(c.SnapshotEntries), Reason: "want at least 10, or 0"}
	}
	return nil
}
