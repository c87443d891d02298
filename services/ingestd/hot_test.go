package ingestd

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/varvelog/varve/infra/vfs"
	"github.com/varvelog/varve/ingest/hotlog"
)

// slowCaller takes an answer when it is let.
type slowCaller struct {
	*httptest.ResponseRecorder
	let <-chan struct{}
}

func (s slowCaller) Write(p []byte) (int, error) {
	<-s.let
	return s.ResponseRecorder.Write(p)
}

// Callers that take their answers slowly, however many they are, do not fill the memory: the next wait, and are told to come again.
func TestReadsOfTheHotLogAreBoundedTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, _, err := hotlog.Open(vfs.NewMem(), "/hotlog", hotlog.Config{SegmentBytes: 1 << 20, NoSpare: true})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := log.Close(); err != nil {
				t.Error(err)
			}
		}()
		content := bytes.Repeat([]byte("varve"), hotPieceBytes/4) // more than a piece
		places, err := log.Append(nil, hotlog.NewChunk(content))
		if err != nil {
			t.Fatal(err)
		}
		served := http.NewServeMux()
		served.Handle("GET /hot/{disk}/{segment}", newHotHandler(log, 2*hotPieceBytes))
		disk := log.DiskUUID()
		target := fmt.Sprintf("/hot/%x/%d?position=%d&length=%d", disk[:], places[0].Segment, places[0].Position, len(content))
		read := func(w http.ResponseWriter) { served.ServeHTTP(w, httptest.NewRequest(http.MethodGet, target, nil)) }

		let := make(chan struct{})
		var slow [2]slowCaller
		var reading sync.WaitGroup
		for i := range slow {
			slow[i] = slowCaller{httptest.NewRecorder(), let}
			reading.Go(func() { read(slow[i]) })
		}
		synctest.Wait()
		refused := httptest.NewRecorder()
		if read(refused); refused.Code != http.StatusServiceUnavailable || !strings.Contains(refused.Body.String(), "OVERLOADED") {
			t.Errorf("a third read: %d %.200s", refused.Code, refused.Body)
		}
		waiting := httptest.NewRecorder()
		reading.Go(func() { read(waiting) })
		synctest.Wait()
		close(let)
		reading.Wait()
		for i, answer := range []*httptest.ResponseRecorder{slow[0].ResponseRecorder, slow[1].ResponseRecorder, waiting} {
			if answer.Code != http.StatusOK || !bytes.Equal(answer.Body.Bytes(), content) {
				t.Errorf("read %d: %d, %d bytes of %d", i, answer.Code, answer.Body.Len(), len(content))
			}
		}
	})
}
