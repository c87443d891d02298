package faultystore

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// rig is a proxy before a store that counts what it carries out.
type rig struct {
	proxy   *Proxy
	url     string
	carried atomic.Int64
	bodies  chan string
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{bodies: make(chan string, 16)}
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		r.carried.Add(1)
		r.bodies <- q.Host + " " + string(body)
		_, _ = io.WriteString(w, "done")
	}))
	t.Cleanup(store.Close)
	proxy, err := Listen("127.0.0.1:0", store.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	r.proxy, r.url = proxy, "http://"+proxy.Address()
	return r
}

func (r *rig) put(ctx context.Context) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPut, r.url+"/bucket/key", strings.NewReader("bytes"))
	if err != nil {
		return 0, err
	}
	request.Host = "signed-host"
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answer, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	return answer.StatusCode, nil
}

func TestWithoutRulesRequestsPassAsTheyAre(t *testing.T) {
	r := newRig(t)
	if status, err := r.put(t.Context()); err != nil || status != http.StatusOK {
		t.Fatalf("%d %v", status, err)
	}
	if got := <-r.bodies; got != "signed-host bytes" {
		t.Errorf("the store was sent %q", got)
	}
}

func TestEachFateIsWhatItSays(t *testing.T) {
	cases := map[Fate]struct {
		status  int // 0: the connection is cut
		carried int64
	}{SlowDown: {http.StatusServiceUnavailable, 0}, Reset: {0, 0}, LoseReply: {0, 1}, Slow: {http.StatusOK, 1}}
	for fate, want := range cases {
		t.Run(string(fate), func(t *testing.T) {
			r := newRig(t)
			rule := &Rule{Fate: fate, Chance: 1, Delay: time.Millisecond}
			r.proxy.Break(rule)
			status, err := r.put(t.Context())
			if (err != nil) != (want.status == 0) || status != want.status {
				t.Errorf("%d %v, want %d", status, err, want.status)
			}
			if got := r.carried.Load(); got != want.carried {
				t.Errorf("carried out %d times, want %d", got, want.carried)
			}
			if r.proxy.Hits()[fate] != 1 {
				t.Errorf("hits: %v", r.proxy.Hits())
			}
			r.proxy.Heal(rule)
			if status, err := r.put(t.Context()); err != nil || status != http.StatusOK {
				t.Errorf("when healed: %d %v", status, err)
			}
		})
	}
}

func TestOneClientsRuleIsNotAnothers(t *testing.T) {
	r := newRig(t)
	r.proxy.Break(&Rule{Fate: Reset, Chance: 1, From: "192.0.2.1"})
	if status, err := r.put(t.Context()); err != nil || status != http.StatusOK {
		t.Errorf("%d %v", status, err)
	}
}

func TestWhatIsStalledIsCutWhenTheRuleEnds(t *testing.T) {
	r := newRig(t)
	rule := &Rule{Fate: Stall, Chance: 1}
	r.proxy.Break(rule)
	failed := make(chan error, 1)
	go func() {
		_, err := r.put(context.WithoutCancel(t.Context()))
		failed <- err
	}()
	for r.proxy.Hits()[Stall] == 0 {
		time.Sleep(time.Millisecond)
	}
	r.proxy.Heal(rule)
	if err := <-failed; err == nil {
		t.Error("it was answered")
	}
}

func TestALateRequestIsCarriedOutWithoutItsClient(t *testing.T) {
	r := newRig(t)
	rule := &Rule{Fate: Slow, Chance: 1, Delay: time.Hour}
	r.proxy.Break(rule)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for r.proxy.Hits()[Slow] == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, err := r.put(ctx); err == nil {
		t.Fatal("it was answered")
	}
	r.proxy.Heal(rule)
	select {
	case got := <-r.bodies:
		if !strings.HasSuffix(got, "bytes") {
			t.Errorf("the store was sent %q", got)
		}
	case <-time.After(30 * time.Second):
		t.Error("the store was sent nothing")
	}
}
