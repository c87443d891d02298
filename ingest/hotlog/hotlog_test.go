package hotlog

import (
	"errors"
	"io"
	"iter"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// chunksOf yields a reader's chunks and fails the test on an error.
func chunksOf(t *testing.T, r *Reader) iter.Seq[Frame] {
	return func(yield func(Frame) bool) {
		t.Helper()
		for {
			frame, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !yield(frame) {
				return
			}
		}
	}
}
