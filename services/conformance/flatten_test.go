package conformance

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/ingest/recordbatch"
)

// symbols replace the ids that a server hands out by the order in which they were first seen.
type symbols map[string]map[string]string

func (s symbols) of(class, value string) string {
	if s[class] == nil {
		s[class] = map[string]string{}
	}
	if _, ok := s[class][value]; !ok {
		s[class][value] = fmt.Sprintf("%s %d", class, len(s[class])+1)
	}
	return s[class][value]
}

// left out: they say nothing, or nothing that two servers could agree on.
var leftOut = map[string]bool{"Version": true, "UnknownTags": true, "ThrottleMillis": true}

// handedOut are the fields with ids that a server chooses.
var handedOut = map[string]string{
	"TopicID": "topic", "MemberID": "member", "JoinGroupResponse.LeaderID": "member", "ProducerID": "producer", "SessionID": "session", "ClusterID": "cluster",
}

// nodes are the fields that hold a node's id, which is only compared for being one; likewise its address.
var nodes = map[string]bool{
	"NodeID": true, "Leader": true, "ControllerID": true, "LeaderID": true, "PreferredReadReplica": true, "Replicas": true, "ISR": true, "OfflineReplicas": true,
}

// identities are the fields by which the elements of a list are told apart, whatever their order.
var identities = []string{"Topic", "TopicID", "Partition", "Group", "ResourceType", "ResourceName", "ApiKey", "MemberID", "Name", "Key"}

// unordered lists are compared by identity; the others by position.
var unordered = map[string]bool{"Brokers": true, "ApiKeys": true, "Configs": true, "ConfigSynonyms": false, "Members": true, "Groups": true, "Topics": true, "Partitions": true}

// flatten turns an answer into paths and values.
func (s symbols) flatten(response kmsg.Response) map[string]string {
	out := map[string]string{}
	kind := reflect.TypeOf(response).Elem().Name()
	s.walk(out, kind, "", reflect.ValueOf(response).Elem())
	return out
}

func (s symbols) walk(out map[string]string, kind, path string, v reflect.Value) {
	for i := range v.NumField() {
		field := v.Type().Field(i).Name
		if leftOut[field] {
			continue
		}
		at := field
		if path != "" {
			at = path + "." + field
		}
		s.value(out, kind, at, field, v.Field(i))
	}
}

func (s symbols) value(out map[string]string, kind, path, field string, v reflect.Value) {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil() && v.Type().Elem().Kind() == reflect.Struct:
		s.walk(out, kind, path, v.Elem())
	case v.Kind() == reflect.Struct:
		s.walk(out, kind, path, v)
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct:
		s.list(out, kind, path, field, v)
	case field == "RecordBatches":
		out[path] = recordsOf(v.Bytes())
	case field == "ErrorMessage" || field == "Documentation":
		out[path] = strconv.FormatBool(v.IsNil()) + " (null)"
	default:
		out[path] = s.scalar(kind, field, v)
	}
}

func (s symbols) list(out map[string]string, kind, path, field string, v reflect.Value) {
	if v.IsNil() {
		out[path+".#"] = "null"
		return
	}
	out[path+".#"] = strconv.Itoa(v.Len())
	times := map[string]int{}
	for i := range v.Len() {
		id := strconv.Itoa(i)
		if unordered[field] {
			id = s.identity(kind, v.Index(i))
			if times[id]++; times[id] > 1 {
				id = fmt.Sprintf("%s again %d", id, times[id])
			}
		}
		s.walk(out, kind, fmt.Sprintf("%s[%s]", path, id), v.Index(i))
	}
}

func (s symbols) identity(kind string, v reflect.Value) string {
	var parts []string
	for _, name := range identities {
		if f := v.FieldByName(name); f.IsValid() {
			if name == "TopicID" && len(parts) > 0 {
				continue // it has a name
			}
			if text := s.scalar(kind, name, f); text != "" && text != "null" && text != "zero" {
				parts = append(parts, text)
			}
		}
	}
	return strings.Join(parts, " ")
}

func (s symbols) scalar(kind, field string, v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "null"
		}
		v = v.Elem()
	}
	if kind == "CreateTopicsResponse" && field == "TopicID" {
		return map[bool]string{true: "zero", false: "an id"}[v.IsZero()]
	}
	if class := handedOut[field]; class != "" || handedOut[kind+"."+field] != "" {
		return s.handed(class+handedOut[kind+"."+field], v)
	}
	switch {
	case nodes[field] && v.CanInt() && v.Int() > 0:
		return "a node"
	case nodes[field] && v.Kind() == reflect.Slice:
		return fmt.Sprintf("%d nodes", v.Len())
	case field == "Host" && v.String() != "":
		return "a host"
	case field == "Port" && v.CanInt() && v.Int() > 0:
		return "a port"
	case field == "LogAppendTime" && v.Int() >= 0:
		return "a time"
	case strings.HasSuffix(field, "LeaderEpoch") && v.Int() >= 0:
		return "an epoch"
	case field == "ErrorCode" || field == "ConfigErrorCode":
		return codeName(int16(v.Int()))
	}
	if v.Kind() == reflect.Slice && v.IsNil() {
		return "null"
	}
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
		return fmt.Sprintf("%q", v.Bytes())
	}
	return fmt.Sprint(rawValue(v))
}

// rawValue leaves out the String method of kmsg's enumerations.
func rawValue(v reflect.Value) any {
	if v.CanInt() {
		return v.Int()
	}
	return v.Interface()
}

func (s symbols) handed(class string, v reflect.Value) string {
	if v.IsZero() {
		return "zero"
	}
	if v.CanInt() && v.Int() < 0 {
		return strconv.FormatInt(v.Int(), 10)
	}
	return s.of(class, fmt.Sprint(v.Interface()))
}

// recordsOf is what a consumer sees of fetched bytes: a batch cut short at the end is nothing.
func recordsOf(b []byte) string {
	if b == nil {
		return "null"
	}
	var out []string
	for batch, err := range recordbatch.Batches(b) {
		if err != nil {
			break
		}
		if batch.IsControl() {
			out = append(out, controlBatch(batch))
			continue
		}
		out = append(out, fmt.Sprintf("[%d-%d attributes=%d max=%d producer=%v/%d", batch.BaseOffset, batch.BaseOffset+int64(batch.LastOffsetDelta), batch.Attributes, batch.MaxTimestamp, batch.ProducerID >= 0, batch.BaseSequence))
		for r, err := range recordbatch.Records(batch.Bytes, nil) {
			if err != nil {
				out = append(out, "damaged")
				break
			}
			out = append(out, fmt.Sprintf("%d:%d:%.40q=%.40q%q", r.Offset, r.Timestamp, r.Key, r.Value, r.Headers))
		}
		out = append(out, "]")
	}
	return strings.Join(out, " ")
}

// controlBatch leaves out when a transaction was ended, and under which of its coordinator's epochs.
func controlBatch(batch recordbatch.Batch) string {
	out := fmt.Sprintf("[%d-%d attributes=%d producer=%v/%d", batch.BaseOffset, batch.LastOffset(), batch.Attributes, batch.ProducerID >= 0, batch.BaseSequence)
	for r, err := range recordbatch.Records(batch.Bytes, nil) {
		if err != nil {
			return out + " damaged]"
		}
		out += fmt.Sprintf(" %q=%d bytes of version %x %q", r.Key, len(r.Value), r.Value[:2], r.Headers)
	}
	return out + "]"
}
