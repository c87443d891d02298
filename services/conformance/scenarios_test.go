package conformance

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// scenarios are all there are. Those that look at the whole cluster come first, while it is empty.
func scenarios() []scenario {
	all := []scenario{
		{"versions", 18, askVersions},
		{"metadata", 3, askMetadata},
		{"listgroups", 16, askNoGroups},
		{"cluster", 60, askCluster},
		{"createtopics", 19, askCreateTopics},
		{"deletetopics", 20, askDeleteTopics},
		{"partitions", 37, askCreatePartitions},
		{"describeconfigs", 32, askDescribeConfigs},
		{"alterconfigs", 33, askAlterConfigs},
		{"incremental", 44, askIncrementalAlterConfigs},
		{"produce", 0, askProduce},
		{"deeply", 0, askDeeply},
		{"idempotent", 0, askIdempotent},
		{"initproducer", 22, askInitProducerID},
		{"transactions", 26, askTransactions},
		{"fetch", 1, askFetch},
		{"fetchsession", 1, askFetchSessions},
		{"listoffsets", 2, askListOffsets},
		{"coordinator", 10, askFindCoordinator},
		{"join", 11, askJoinGroup},
		{"static", 11, askStaticMembers},
		{"sync", 14, askSyncGroup},
		{"heartbeat", 12, askHeartbeat},
		{"leave", 13, askLeaveGroup},
		{"commit", 8, askOffsetCommit},
		{"offsetfetch", 9, askOffsetFetch},
		{"describegroups", 15, askDescribeGroups},
		{"groups", 16, askListGroups},
		{"deletegroups", 42, askDeleteGroups},
		{"random", 0, askRandomly},
		{"administrators-randomly", 60, askAdministratorsRandomly},
		{"offsetdelete", 47, askOffsetDelete},
		{"consumerheartbeat", 68, askConsumerGroupHeartbeat},
		{"consumerstatic", 68, askStaticConsumers},
		{"consumerdescribe", 69, askConsumerGroupDescribe},
	}
	all = append(all, adminScenarios()...)
	for _, key := range []int16{0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 22, 32, 33, 37, 42, 44, 60, 17, 21, 23, 25, 27, 28, 29, 30, 31, 34, 35, 36, 38, 39, 40, 41, 43, 45, 46, 48, 49, 50, 51, 55, 57, 61, 64, 65, 66, 68, 69, 74, 75, 80, 81} {
		all = append(all, scenario{"malformed-" + kmsg.NameForKey(key), key, askMalformed(key)})
	}
	return all
}

// askMalformed asks with an empty request, and with every way to cut a little off a request's end.
func askMalformed(key int16) func(*session, int16) {
	return func(s *session, version int16) {
		if key != 3 && key != 16 { // those would list what other scenarios left
			r := kmsg.RequestForKey(key)
			if key != 18 && key != 0 && !listsAll[key] {
				ask[kmsg.Response](s, "of nothing", version, r)
			}
		}
		r := sample(key)
		r.SetVersion(version)
		whole := s.conn.formatter.AppendRequest(nil, r, 1)
		for _, cut := range []int{1, 2, 3, 5, 9} {
			if len(whole)-4-cut < 12 {
				continue
			}
			frame := append([]byte(nil), whole[:len(whole)-cut]...)
			frame[0], frame[1], frame[2], frame[3] = 0, 0, byte((len(frame)-4)>>8), byte(len(frame)-4)
			s.frame(fmt.Sprintf("cut short by %d", cut), r, frame)
		}
		longer := append(append([]byte(nil), whole...), 0, 0, 0)
		longer[0], longer[1], longer[2], longer[3] = 0, 0, byte((len(longer)-4)>>8), byte(len(longer)-4)
		if key != 3 && key != 16 && key != 18 {
			s.frame("with bytes behind it", r, longer)
		}
	}
}

// listsAll are APIs of which an empty request asks for all there is, or about the node itself.
var listsAll = map[int16]bool{35: true, 43: true, 46: true, 48: true, 50: true, 55: true, 64: true, 66: true, 74: true, 75: true}

// frame sends bytes, and records whether anything came back.
func (s *session) frame(label string, r kmsg.Request, frame []byte) {
	s.t.Helper()
	w := dial(s.t, s.server.address)
	defer w.close()
	err := w.send(frame)
	if err == nil {
		_, err = w.receive()
	}
	outcome := "answered"
	if err != nil {
		outcome = err.Error()
	}
	s.note(r, label, map[string]string{noAnswer: outcome})
}

// sample is a request with something in it, which changes nothing.
func sample(key int16) kmsg.Request {
	const nowhere = "nowhere"
	switch r := kmsg.RequestForKey(key).(type) {
	case *kmsg.ProduceRequest:
		return produceTo(target{name: nowhere}, -1, newBatch(rec("k", "v", 1)).encode())
	case *kmsg.FetchRequest:
		return fetchFrom(target{name: nowhere}, 0)
	case *kmsg.ListOffsetsRequest:
		return listAt(nowhere, -1)
	case *kmsg.MetadataRequest:
		return metadataOf(nowhere)
	case *kmsg.CreateTopicsRequest:
		r.ValidateOnly = true
		r.Topics = append(r.Topics, newTopic(nowhere, 1))
		return r
	case *kmsg.DeleteTopicsRequest:
		return deletion(nowhere)
	case *kmsg.FindCoordinatorRequest:
		r.CoordinatorKey, r.CoordinatorKeys = nowhere, []string{nowhere}
		return r
	case *kmsg.ApiVersionsRequest:
		r.ClientSoftwareName, r.ClientSoftwareVersion = "a", "1"
		return r
	case *kmsg.DescribeGroupsRequest:
		r.Groups = []string{nowhere}
		return r
	case *kmsg.DeleteGroupsRequest:
		r.Groups = []string{nowhere}
		return r
	case *kmsg.OffsetCommitRequest:
		r.Group = nowhere
		r.Topics = append(r.Topics, commitOf(nowhere, 0, 1))
		return r
	default:
		return r
	}
}

func askVersions(s *session, version int16) {
	good := kmsg.NewPtrApiVersionsRequest()
	good.ClientSoftwareName, good.ClientSoftwareVersion = "conformance", "1.0"
	r := ask[*kmsg.ApiVersionsResponse](s, "", version, good)
	fields := map[string]string{"ErrorCode": codeName(r.ErrorCode)}
	for _, k := range r.ApiKeys {
		fields[fmt.Sprintf("%s (key %d)", kmsg.NameForKey(k.ApiKey), k.ApiKey)] = fmt.Sprintf("versions %d to %d", k.MinVersion, k.MaxVersion)
	}
	if version >= 3 {
		fields["finalized features"] = fmt.Sprint(len(r.FinalizedFeatures) > 0)
		fields["supported features"] = fmt.Sprint(len(r.SupportedFeatures) > 0)
	}
	s.note(good, "the list", fields)
	for _, name := range []string{"", "-a", "a b", "a-", "a.b-c"} {
		bad := kmsg.NewPtrApiVersionsRequest()
		bad.ClientSoftwareName, bad.ClientSoftwareVersion = name, "1.0"
		bad.SetVersion(version)
		a := ask[*kmsg.ApiVersionsResponse](s, "", version, bad)
		s.note(bad, fmt.Sprintf("software name %q", name), map[string]string{"ErrorCode": codeName(a.ErrorCode), "keys": fmt.Sprint(len(a.ApiKeys) > 0)})
	}
	for key := range int16(100) {
		served, ok := s.server.ranges[key]
		if !ok {
			continue
		}
		if version == 0 && s.server.ranges[key] == served && key != 18 { // once
			s.unsupported(key)
		}
	}
	s.tooNew(good)
}

// unsupported asks for the version above the last that Kafka 4.1 has, and below the first.
func (s *session) unsupported(key int16) {
	for _, version := range []int16{-1, 99} {
		r := kmsg.RequestForKey(key)
		if r == nil || !compared[key] {
			return
		}
		frame := []byte{0, 0, 0, 10, byte(key >> 8), byte(key), byte(version >> 8), byte(version), 0, 0, 0, 1, 0xff, 0xff}
		s.frame(fmt.Sprintf("asked with version %d", version), r, frame)
	}
}

var compared = map[int16]bool{0: true, 1: true, 2: true, 3: true, 8: true, 9: true, 10: true, 11: true, 12: true, 13: true, 14: true, 15: true, 16: true, 19: true, 20: true,
	17: true, 21: true, 22: true, 23: true, 24: true, 25: true, 26: true, 27: true, 28: true, 29: true, 30: true, 31: true, 32: true, 33: true, 34: true, 35: true, 36: true, 37: true, 38: true,
	39: true, 40: true, 41: true, 42: true, 43: true, 44: true, 45: true, 46: true, 47: true, 48: true, 49: true, 50: true, 51: true, 55: true, 57: true, 60: true, 61: true, 64: true, 65: true,
	66: true, 68: true, 69: true, 74: true, 75: true, 76: true, 77: true, 78: true, 79: true, 80: true, 81: true, 90: true, 91: true, 92: true}

// tooNew: a version of ApiVersions that nobody has yet is answered in version 0.
func (s *session) tooNew(r kmsg.Request) {
	w := dial(s.t, s.server.address)
	defer w.close()
	if err := w.send([]byte{0, 0, 0, 11, 0, 18, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0}); err != nil {
		s.t.Fatal(err)
	}
	frame, err := w.receive()
	if err != nil {
		s.note(r, "of version 99", map[string]string{noAnswer: err.Error()})
		return
	}
	answer := kmsg.NewPtrApiVersionsResponse()
	if err := answer.ReadFrom(frame[4:]); err != nil {
		s.note(r, "of version 99", map[string]string{noAnswer: err.Error()})
		return
	}
	s.note(r, "of version 99", s.symbols.flatten(answer))
}

func askCluster(s *session, version int16) {
	r := kmsg.NewPtrDescribeClusterRequest()
	ask[kmsg.Response](s, "plain", version, r)
	r.IncludeClusterAuthorizedOperations = true
	ask[kmsg.Response](s, "with operations", version, r)
	if version >= 1 {
		for _, endpoint := range []int8{0, 2, 3} {
			r.EndpointType = endpoint
			ask[kmsg.Response](s, fmt.Sprintf("of endpoint type %d", endpoint), version, r)
		}
	}
	if version >= 2 {
		r.EndpointType, r.IncludeFencedBrokers = 1, true
		ask[kmsg.Response](s, "with fenced brokers", version, r)
	}
}
