package bus

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"

	"github.com/varvelog/varve/infra/proof"
)

// Key makes the messages that receivers act on, and tells them from a stranger's: a server of the user's may let anybody publish.
type Key struct {
	clusterID        string
	entries, leaders *proof.Key
}

// NewKey returns the key that the processes of a cluster share.
func NewKey(secret []byte, clusterID string) *Key {
	return &Key{
		clusterID: clusterID,
		entries:   proof.NewKey(secret, "varve metalog hint v1", clusterID),
		leaders:   proof.NewKey(secret, "varve leader answer v1", clusterID),
	}
}

// Password is what Varve's own connections show to the embedded servers, and these to each other. It is sent as it is, to whatever server is named, and
// so it is not the secret.
func Password(secret []byte, clusterID string) string {
	return hex.EncodeToString(proof.Derive(secret, "varve nats password v1", clusterID))
}

// ClusterID is the cluster's.
func (k *Key) ClusterID() string { return k.clusterID }

// AppendEntryHint appends the body of a message on MetalogSubject to dst.
func (k *Key) AppendEntryHint(dst []byte, seq uint64, entry []byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, seq)
	dst = k.entries.Append(dst, dst[len(dst)-8:], entry)
	return append(dst, entry...)
}

// ParseEntryHint splits the body of a message on MetalogSubject; the entry shares body's memory. It is not ok where the message does not prove that a
// process of the cluster has sent it.
func (k *Key) ParseEntryHint(body []byte) (seq uint64, entry []byte, ok bool) {
	if len(body) < 8+proof.Size {
		return 0, nil, false
	}
	entry = body[8+proof.Size:]
	if !k.entries.Proves(body[8:8+proof.Size], body[:8], entry) {
		return 0, nil, false
	}
	return binary.BigEndian.Uint64(body), entry, true
}

// LeaderAnswer is the answer to a request on LeaderSubject. It is a hint: only the log says who leads.
type LeaderAnswer struct {
	Address string `json:"address"` // host:port of the internal listener
	Epoch   uint64 `json:"epoch"`
	Seq     uint64 `json:"seq"`
}

// provedAnswer is what travels.
type provedAnswer struct {
	LeaderAnswer
	Proof []byte `json:"proof"`
}

// questionBytes is the size of a question who leads.
const questionBytes = 16

// NewLeaderQuestion is the body of a request on LeaderSubject. Nobody can foresee it, so no answer to another is one to it.
func NewLeaderQuestion() []byte {
	question := make([]byte, questionBytes)
	_, _ = rand.Read(question) // never fails
	return question
}

// AnswerLeader is the body of the answer to a question. Builds that ask without one are answered, too: they learn from the leader what is wrong.
func (k *Key) AnswerLeader(question []byte, answer LeaderAnswer) []byte {
	body, err := json.Marshal(provedAnswer{answer, k.leaders.Append(nil, question, covered(answer))})
	if err != nil {
		panic("bus: strings and numbers do not marshal: " + err.Error())
	}
	return body
}

// ReadLeaderAnswer reads the answer to question. It is not ok where it does not prove that a process of the cluster has given it, to this question.
func (k *Key) ReadLeaderAnswer(question, body []byte) (answer LeaderAnswer, ok bool) {
	var read provedAnswer
	if json.Unmarshal(body, &read) != nil || !k.leaders.Proves(read.Proof, question, covered(read.LeaderAnswer)) {
		return LeaderAnswer{}, false
	}
	return read.LeaderAnswer, true
}

func covered(a LeaderAnswer) []byte {
	numbers := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, a.Epoch), a.Seq)
	return append(numbers, a.Address...)
}
