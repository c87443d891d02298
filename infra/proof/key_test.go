package proof

import (
	"bytes"
	"testing"
)

func TestACodeProvesItsMessageAlone(t *testing.T) {
	key := NewKey([]byte("secret"), "greeting", "cluster")
	code := key.Append(nil, []byte("good"), []byte("day"))
	if len(code) != Size || !key.Proves(code, []byte("good"), []byte("day")) {
		t.Fatalf("code %x does not prove what it was made for", code)
	}
	for name, proved := range map[string]bool{
		"other words":         key.Proves(code, []byte("good"), []byte("bye")),
		"divided differently": key.Proves(code, []byte("goodday"), nil),
		"a part less":         key.Proves(code, []byte("good")),
		"no code":             key.Proves(nil, []byte("good"), []byte("day")),
		"half a code":         key.Proves(code[:Size/2], []byte("good"), []byte("day")),
		"another secret":      NewKey([]byte("guess"), "greeting", "cluster").Proves(code, []byte("good"), []byte("day")),
		"another purpose":     NewKey([]byte("secret"), "parting", "cluster").Proves(code, []byte("good"), []byte("day")),
		"another cluster":     NewKey([]byte("secret"), "greeting", "other").Proves(code, []byte("good"), []byte("day")),
	} {
		if proved {
			t.Errorf("%s: proved", name)
		}
	}
}

func TestAppendKeepsWhatIsThere(t *testing.T) {
	key := NewKey([]byte("secret"), "greeting", "cluster")
	if got := key.Append([]byte("before"), []byte("x")); !bytes.Equal(got, append([]byte("before"), key.Append(nil, []byte("x"))...)) {
		t.Errorf("got %x", got)
	}
}

func BenchmarkAppend(b *testing.B) {
	key := NewKey([]byte("secret"), "greeting", "cluster")
	message, code := make([]byte, 200), make([]byte, 0, Size)
	b.ReportAllocs()
	for b.Loop() {
		code = key.Append(code[:0], message)
	}
}
