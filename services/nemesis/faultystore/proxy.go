package faultystore

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"time"
)

// Fate is what happens to a request.
type Fate string

// The fates of requests.
const (
	Slow      Fate = "slow"       // carried out late, even where its client has gone
	Stall     Fate = "stall"      // not answered while the rule stands
	SlowDown  Fate = "slowdown"   // refused with 503
	Reset     Fate = "reset"      // the connection is cut before anything is carried out
	LoseReply Fate = "lost reply" // carried out, and the connection is cut instead of an answer
)

// Rule breaks requests.
type Rule struct {
	Fate   Fate
	Chance float64       // of each request
	Delay  time.Duration // of Slow: the mean of an exponential distribution
	From   string        // address of the client; everybody where empty

	ended chan struct{}
}

// Proxy is a running proxy.
type Proxy struct {
	address string
	server  *http.Server
	done    chan struct{}
	mu      struct {
		sync.Mutex
		rules []*Rule
		hit   map[Fate]int
	}
}

// Listen serves at address what is at target.
func Listen(address, target string) (*Proxy, error) {
	to, err := url.Parse(target)
	if err != nil {
		return nil, fmt.Errorf("proxy of the store: %w", err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("proxy of the store: %w", err)
	}
	p := &Proxy{address: listener.Addr().String(), done: make(chan struct{})}
	p.mu.hit = map[Fate]int{}
	quiet := log.New(io.Discard, "", 0) // what is cut is cut on purpose
	forward := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host // it is signed
		},
		Transport:    &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     quiet,
	}
	p.server = &http.Server{ErrorLog: quiet, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, fate := p.meet(r)
		switch fate {
		case SlowDown:
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>`)
			return
		case Reset:
			panic(http.ErrAbortHandler)
		case LoseReply:
			if r, whole := detach(r); whole {
				forward.ServeHTTP(&discard{header: http.Header{}}, r)
			}
			panic(http.ErrAbortHandler)
		}
		forward.ServeHTTP(deaf{w}, r)
	})}
	go func() {
		defer close(p.done)
		_ = p.server.Serve(listener) // until Close
	}()
	return p, nil
}

// Address is where it listens.
func (p *Proxy) Address() string { return p.address }

// Close ends the proxy and cuts what is under way.
func (p *Proxy) Close() error {
	p.mu.Lock()
	rules := slices.Clone(p.mu.rules)
	p.mu.Unlock()
	for _, r := range rules {
		p.Heal(r)
	}
	err := p.server.Close()
	<-p.done
	return err
}

// Break adds a rule, and Heal takes it back.
func (p *Proxy) Break(r *Rule) {
	r.ended = make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.rules = append(p.mu.rules, r)
}

// Heal ends a rule; what it has stalled is let go, and cut.
func (p *Proxy) Heal(r *Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.mu.rules, r); i >= 0 {
		p.mu.rules = slices.Delete(p.mu.rules, i, i+1)
		close(r.ended)
	}
}

// Hits says how many requests met each fate.
func (p *Proxy) Hits() map[Fate]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	hits := map[Fate]int{}
	for fate, n := range p.mu.hit {
		hits[fate] = n
	}
	return hits
}

// meet lets the request wait as the rules want, and returns it, as it is to be carried out, with what else is to become of it.
func (p *Proxy) meet(r *http.Request) (*http.Request, Fate) {
	from, _, _ := net.SplitHostPort(r.RemoteAddr)
	p.mu.Lock()
	var met []*Rule
	for _, rule := range p.mu.rules {
		if (rule.From == "" || rule.From == from) && rand.Float64() < rule.Chance {
			met = append(met, rule)
		}
	}
	p.mu.Unlock()
	var last Fate
	for _, rule := range met {
		if rule.Fate == Slow {
			var whole bool
			if r, whole = detach(r); !whole {
				return r, Reset
			}
		}
		p.mu.Lock()
		p.mu.hit[rule.Fate]++
		p.mu.Unlock()
		switch rule.Fate {
		case Slow:
			wait(r.Context(), rule.ended, time.Duration(rand.ExpFloat64()*float64(rule.Delay)))
		case Stall:
			wait(r.Context(), rule.ended, time.Hour)
			last = Reset
		default:
			last = rule.Fate
		}
	}
	return r, last
}

// detach reads the whole request, so that it can be carried out without its client.
func detach(r *http.Request) (_ *http.Request, whole bool) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return r, false
	}
	r = r.WithContext(context.WithoutCancel(r.Context()))
	r.Body = io.NopCloser(bytes.NewReader(body))
	return r, true
}

func wait(ctx context.Context, ended <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-ended:
	case <-timer.C:
	}
}

// deaf hides that an answer's client can be seen to go, which would end a request that is to be carried out without it.
type deaf struct{ http.ResponseWriter }

// discard takes an answer that is to be lost.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header       { return d.header }
func (*discard) Write(p []byte) (int, error) { return len(p), nil }
func (*discard) WriteHeader(int)             {}
