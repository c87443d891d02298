package bus

import (
	"encoding/json"
	"strconv"
	"strings"
)

// CommitWildcard is the subject that matches every commit notification.
const CommitWildcard = "varve.commit.>"

// CommitNotification is the JSON body of a message on CommitSubject. Notifications are coalesced: one may stand for several
// commits, and the last one published for a partition carries its newest high watermark.
type CommitNotification struct {
	Topic         string `json:"topic"`
	Partition     int32  `json:"partition"`
	HighWatermark int64  `json:"highWatermark"`
}

// AppendJSON appends the notification's JSON to dst. Commits are frequent: what encoding/json allocates for each is spared.
func (n *CommitNotification) AppendJSON(dst []byte) []byte {
	dst = appendJSONString(append(dst, `{"topic":`...), n.Topic)
	dst = strconv.AppendInt(append(dst, `,"partition":`...), int64(n.Partition), 10)
	dst = strconv.AppendInt(append(dst, `,"highWatermark":`...), n.HighWatermark, 10)
	return append(dst, '}')
}

// appendJSONString appends s quoted. A topic's name has only characters that stand for themselves; others are left to encoding/json.
func appendJSONString(dst []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic("bus: a string has no JSON: " + err.Error())
			}
			return append(dst, quoted...)
		}
	}
	return append(append(append(dst, '"'), s...), '"')
}

// MetalogSubject carries durable metalog entries to replicas.
func MetalogSubject(clusterID string) string { return "varve." + clusterID + ".metalog" }

// LeaderSubject is where the leader answers who it is.
func LeaderSubject(clusterID string) string { return "varve." + clusterID + ".leader" }

// JobsSubject tells tiering workers that a job waits.
func JobsSubject(clusterID string) string { return "varve." + clusterID + ".jobs" }

// LogSubject is the subject the JetStream metalog's stream captures.
func LogSubject(clusterID string) string { return "varve." + clusterID + ".log" }

// CommitSubject is where commits of one partition are told. The topic stands last so that its dots form tokens of their own.
func CommitSubject(topic string, partition int32) string {
	if strings.HasPrefix(topic, ".") || strings.HasSuffix(topic, ".") || strings.Contains(topic, "..") {
		tokens := strings.Split(topic, ".")
		for i, token := range tokens {
			if token == "" {
				tokens[i] = "~"
			}
		}
		topic = strings.Join(tokens, ".")
	}
	return "varve.commit." + strconv.Itoa(int(partition)) + "." + topic
}
