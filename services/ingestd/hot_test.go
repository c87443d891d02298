package ingestd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/varvelog/varve/infra/rpc"
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

// endingTransport brings the first bytes of what is read, and then that the caller's time is over.
type endingTransport struct {
	callee http.Handler
	bytes  int64
}

func (e endingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	received := r.Clone(r.Context())
	if received.Body == nil {
		received.Body = http.NoBody
	}
	recorder := httptest.NewRecorder()
	e.callee.ServeHTTP(recorder, received)
	answer := recorder.Result()
	if r.Method == http.MethodGet {
		answer.Body = io.NopCloser(io.MultiReader(io.LimitReader(answer.Body, e.bytes), iotest.ErrReader(context.DeadlineExceeded)))
	}
	return answer, nil
}

// Who has read half of something when the time is over is told so, and has that half.
func TestAReadOfAnotherHotLogThatEndsEarlySaysHowMuchCame(t *testing.T) {
	log, _, err := hotlog.Open(vfs.NewMem(), "/hotlog", hotlog.Config{SegmentBytes: 1 << 20, NoSpare: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}()
	content := bytes.Repeat([]byte("varve"), 1000)
	places, err := log.Append(nil, hotlog.NewChunk(content))
	if err != nil {
		t.Fatal(err)
	}
	server, err := rpc.NewServer(rpc.ServerConfig{ClusterID: "c"})
	if err != nil {
		t.Fatal(err)
	}
	server.HandleGet("/hot/{disk}/{segment}", HotHandler(log))
	client := rpc.NewClient(rpc.ClientConfig{ClusterID: "c", Transport: endingTransport{server, 3000}})
	defer client.Close()
	buf := make([]byte, len(content))
	n, err := ReadHot(t.Context(), client, "a:1", log.DiskUUID(), places[0].Segment, uint64(places[0].Position), buf)
	if n != 3000 || !errors.Is(err, context.DeadlineExceeded) || !bytes.Equal(buf[:n], content[:n]) {
		t.Errorf("%d bytes: %v", n, err)
	}
}
