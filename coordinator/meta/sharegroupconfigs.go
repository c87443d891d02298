package meta

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// shareGroupConfigDefs are the configurations of share groups and the cluster's that they take their defaults from (KIP-932).
var shareGroupConfigDefs = []ConfigDef{
	{Name: "share.auto.offset.reset", Scope: ScopeGroup, Type: TypeString, Default: "latest", check: checkShareReset,
		Doc: "Where a share partition begins that nobody has fetched from: latest, earliest or by_duration:PnDTnHnMn.nS before the first fetch."},
	{Name: "share.heartbeat.interval.ms", Scope: ScopeGroup, Type: TypeInt, Default: "5000", min: 5000, max: 15_000,
		Synonym: "group.share.heartbeat.interval.ms", Doc: "How often members of a share group are asked to heartbeat."},
	{Name: "share.isolation.level", Scope: ScopeGroup, Type: TypeString, Default: "read_uncommitted", allowed: []string{"read_committed", "read_uncommitted"},
		Doc: "Whether records of open and aborted transactions are given to a share group."},
	{Name: "share.record.lock.duration.ms", Scope: ScopeGroup, Type: TypeInt, Default: "30000", min: 15_000, max: 60_000,
		Synonym: "group.share.record.lock.duration.ms", Doc: "How long a member has a record before others may be given it."},
	{Name: "share.session.timeout.ms", Scope: ScopeGroup, Type: TypeInt, Default: "45000", min: 45_000, max: 60_000,
		Synonym: "group.share.session.timeout.ms", Doc: "After how long without a heartbeat a member of a share group is taken out."},

	{Name: "group.share.assignors", Scope: ScopeBroker, Type: TypeList, Default: "simple", allowed: []string{"simple"}, ReadOnly: true,
		Doc: "The server-side assignor of share groups."},
	{Name: "group.share.delivery.count.limit", Scope: ScopeBroker, Type: TypeInt, Default: "5", min: 2, max: 10,
		Doc: "How often a record is given to a share group before it is archived."},
	{Name: "group.share.heartbeat.interval.ms", Scope: ScopeBroker, Type: TypeInt, Default: "5000", min: 5000, max: 15_000,
		Doc: "The default of groups' share.heartbeat.interval.ms."},
	{Name: "group.share.max.heartbeat.interval.ms", Scope: ScopeBroker, Type: TypeInt, Default: "15000", min: 15_000, max: 15_000, ReadOnly: true,
		Doc: "The longest share.heartbeat.interval.ms of a group."},
	{Name: "group.share.max.record.lock.duration.ms", Scope: ScopeBroker, Type: TypeInt, Default: "60000", min: 60_000, max: 60_000, ReadOnly: true,
		Doc: "The longest share.record.lock.duration.ms of a group."},
	{Name: "group.share.max.session.timeout.ms", Scope: ScopeBroker, Type: TypeInt, Default: "60000", min: 60_000, max: 60_000, ReadOnly: true,
		Doc: "The longest share.session.timeout.ms of a group."},
	{Name: "group.share.max.share.sessions", Scope: ScopeBroker, Type: TypeInt, Default: "2000", min: 1, max: math.MaxInt32,
		Doc: "The most share sessions a node keeps."},
	{Name: "group.share.max.size", Scope: ScopeBroker, Type: TypeInt, Default: "200", min: 1, max: 1000,
		Doc: "The most members a share group may have."},
	{Name: "group.share.min.heartbeat.interval.ms", Scope: ScopeBroker, Type: TypeInt, Default: "5000", min: 5000, max: 5000, ReadOnly: true,
		Doc: "The shortest share.heartbeat.interval.ms of a group."},
	{Name: "group.share.min.record.lock.duration.ms", Scope: ScopeBroker, Type: TypeInt, Default: "15000", min: 15_000, max: 15_000, ReadOnly: true,
		Doc: "The shortest share.record.lock.duration.ms of a group."},
	{Name: "group.share.min.session.timeout.ms", Scope: ScopeBroker, Type: TypeInt, Default: "45000", min: 45_000, max: 45_000, ReadOnly: true,
		Doc: "The shortest share.session.timeout.ms of a group."},
	{Name: "group.share.partition.max.record.locks", Scope: ScopeBroker, Type: TypeInt, Default: "2000", min: 100, max: 10_000,
		Doc: "How many offsets of a share partition may be between the first that is not done with and the last that was given out, before more are."},
	{Name: "group.share.record.lock.duration.ms", Scope: ScopeBroker, Type: TypeInt, Default: "30000", min: 1000, max: 3_600_000,
		Doc: "The default of groups' share.record.lock.duration.ms."},
	{Name: "group.share.session.timeout.ms", Scope: ScopeBroker, Type: TypeInt, Default: "45000", min: 45_000, max: 60_000,
		Doc: "The default of groups' share.session.timeout.ms."},
}

// ShareConfig is what holds for a share group.
type ShareConfig struct {
	HeartbeatMillis int32
	SessionMillis   int32
	MaxSize         int32
	LockMillis      int32
	MaxDeliveries   int32
	MaxInFlight     int64
	Committed       bool // share.isolation.level
	Reset           ShareReset
}

// ShareReset is where a share partition begins that nobody has fetched from.
type ShareReset struct {
	Earliest  bool
	ByTime    bool
	AgoMillis int64 // of ByTime
}

// ShareConfig is the configuration in effect for a share group.
func (s *State) ShareConfig(name string) ShareConfig {
	cluster := s.configs[configKey{ScopeBroker, ""}]
	group := effective{scope: ScopeGroup, own: s.configs[configKey{ScopeGroup, name}], cluster: cluster}
	broker := effective{scope: ScopeBroker, own: cluster}
	reset, _ := parseShareReset(group.text("share.auto.offset.reset")) // it was checked when it was set
	return ShareConfig{
		HeartbeatMillis: int32(group.number("share.heartbeat.interval.ms")),
		SessionMillis:   int32(group.number("share.session.timeout.ms")),
		MaxSize:         int32(broker.number("group.share.max.size")),
		LockMillis:      int32(group.number("share.record.lock.duration.ms")),
		MaxDeliveries:   int32(broker.number("group.share.delivery.count.limit")),
		MaxInFlight:     broker.number("group.share.partition.max.record.locks"),
		Committed:       group.text("share.isolation.level") == "read_committed",
		Reset:           reset,
	}
}

// MaxShareSessions is group.share.max.share.sessions.
func (s *State) MaxShareSessions() int {
	return int(effective{scope: ScopeBroker, own: s.configs[configKey{ScopeBroker, ""}]}.number("group.share.max.share.sessions"))
}

func checkShareReset(value string) error {
	_, err := parseShareReset(value)
	return err
}

func parseShareReset(value string) (ShareReset, error) {
	wrong := fmt.Errorf("the value must be either 'earliest', 'latest' or of the format 'by_duration:<PnDTnHnMn.nS>'")
	switch value = strings.TrimSpace(value); value {
	case "latest":
		return ShareReset{}, nil
	case "earliest":
		return ShareReset{Earliest: true}, nil
	}
	text, found := strings.CutPrefix(value, "by_duration:")
	ago, ok := parseISODuration(text)
	if !found || !ok {
		return ShareReset{}, wrong
	}
	return ShareReset{AgoMillis: ago, ByTime: true}, nil
}

var isoDuration = regexp.MustCompile(`(?i)^P(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9}(?:\.\d{0,9})?)S)?)?$`)

// parseISODuration reads PnDTnHnMn.nS as milliseconds. Days have 24 hours.
func parseISODuration(text string) (millis int64, ok bool) {
	parts := isoDuration.FindStringSubmatch(text)
	if parts == nil || strings.HasSuffix(strings.ToUpper(text), "T") || len(text) < 3 {
		return 0, false
	}
	var seconds float64
	for i, unit := range []float64{24 * 3600, 3600, 60, 1} {
		if parts[i+1] == "" {
			continue
		}
		n, err := strconv.ParseFloat(parts[i+1], 64)
		if err != nil {
			return 0, false
		}
		seconds += n * unit
	}
	return int64(seconds * 1000), true // at most nine digits each: far below what an int64 holds
}
