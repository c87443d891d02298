package bus

import (
	"bytes"
	"encoding/json"
	"testing"
)

func TestAnEntryHintIsTheClustersOrNone(t *testing.T) {
	key := NewKey([]byte("secret"), "cluster")
	hint := key.AppendEntryHint(nil, 7, []byte("entry"))
	if seq, entry, ok := key.ParseEntryHint(hint); !ok || seq != 7 || string(entry) != "entry" {
		t.Fatalf("got %d %q %v", seq, entry, ok)
	}
	if got := key.AppendEntryHint([]byte("before"), 7, []byte("entry")); !bytes.Equal(got, append([]byte("before"), hint...)) {
		t.Errorf("appended %x, alone it is %x", got, hint)
	}
	for i := range hint {
		forged := bytes.Clone(hint)
		forged[i] ^= 1
		if _, _, ok := key.ParseEntryHint(forged); ok {
			t.Errorf("with byte %d changed it was taken", i)
		}
	}
	for name, forged := range map[string][]byte{
		"cut off":           hint[:len(hint)-1],
		"short":             hint[:20],
		"without a code":    append(append([]byte{}, hint[:8]...), "entry"...),
		"of another secret": NewKey([]byte("guess"), "cluster").AppendEntryHint(nil, 7, []byte("entry")),
		"of another log":    NewKey([]byte("secret"), "other").AppendEntryHint(nil, 7, []byte("entry")),
	} {
		if _, _, ok := key.ParseEntryHint(forged); ok {
			t.Errorf("%s: taken", name)
		}
	}
}

func TestALeaderAnswerIsToItsQuestion(t *testing.T) {
	key, question := NewKey([]byte("secret"), "cluster"), NewLeaderQuestion()
	want := LeaderAnswer{Address: "10.0.0.1:9644", Epoch: 3, Seq: 9}
	body := key.AnswerLeader(question, want)
	if got, ok := key.ReadLeaderAnswer(question, body); !ok || got != want {
		t.Fatalf("got %+v, %v", got, ok)
	}
	var forged provedAnswer
	if err := json.Unmarshal(body, &forged); err != nil {
		t.Fatal(err)
	}
	forged.Address = "10.6.6.6:9644"
	elsewhere, err := json.Marshal(forged)
	if err != nil {
		t.Fatal(err)
	}
	for name, row := range map[string]struct{ question, body []byte }{
		"to another question": {NewLeaderQuestion(), body},
		"another address":     {question, elsewhere},
		"without a proof":     {question, []byte(`{"address":"10.6.6.6:9644"}`)},
		"of another secret":   {question, NewKey([]byte("guess"), "cluster").AnswerLeader(question, want)},
		"to no question":      {question, key.AnswerLeader(nil, want)},
		"nothing":             {question, nil},
	} {
		if got, ok := key.ReadLeaderAnswer(row.question, row.body); ok || got != (LeaderAnswer{}) {
			t.Errorf("%s: taken as %+v", name, got)
		}
	}
}
