package faulty

import (
	"errors"
	"math"
	"math/rand/v2"
	"time"
)

// ErrInjected is the error of rules that name none. It matches no sentinel of the contract, so it is transient.
var ErrInjected = errors.New("injected fault")

// Op is a set of operations.
type Op uint16

// The operations, and sets of them.
const (
	PutIfAbsent Op = 1 << iota
	PutIfMatch
	PutAlways
	Get
	Head
	Delete
	List
	Now

	Put   = PutIfAbsent | PutIfMatch | PutAlways
	Write = Put | Delete
	Any   = Write | Get | Head | List | Now
)

var opNames = map[Op]string{
	PutIfAbsent: "PutIfAbsent", PutIfMatch: "PutIfMatch", PutAlways: "Put", Get: "Get", Head: "Head", Delete: "Delete", List: "List", Now: "Now",
}

// Latency is a log-normal distribution given by two of its quantiles. With a P99 not above the median every sample is
// the median; the zero value takes no time.
type Latency struct{ Median, P99 time.Duration }

func (l Latency) sample(random *rand.Rand) time.Duration {
	if l.Median <= 0 || l.P99 <= l.Median {
		return max(l.Median, 0)
	}
	// The 99th percentile of the standard normal distribution.
	const z99 = 2.3263478740408408
	sigma := math.Log(float64(l.P99)/float64(l.Median)) / z99
	return time.Duration(float64(l.Median) * math.Exp(sigma*random.NormFloat64()))
}

// Rule says what goes wrong, and when.
type Rule struct {
	// Ops are the operations it is about. Zero means Any.
	Ops Op
	// Key limits it to keys (for List: prefixes) for which it returns true. Nil means all.
	Key func(key string) bool
	// Skip lets that many matching calls pass first.
	Skip int
	// Times ends the rule after it has applied that often. Zero means never.
	Times int
	// Chance applies the rule to that share of the calls that are left, in (0, 1]. Zero means all.
	Chance float64

	// Latency passes before the operation begins; latencies of several rules add up.
	Latency Latency
	// Hold keeps the operation from beginning until the channel is closed.
	Hold <-chan struct{}
	// Fail makes the operation fail with Err, before it has begun.
	Fail bool
	// FailAfter lets the operation happen, and reports Err where it succeeded.
	FailAfter bool
	// Truncate makes the body of a Get break off with Err after this many bytes, where it is positive.
	Truncate int64
	// Err is what Fail, FailAfter and Truncate report; ErrInjected where nil.
	Err error
	// Detach lets the operation go on when the caller's context ends: the caller gets the context's error, and the
	// operation takes effect later.
	Detach bool
	// IgnoreContext makes the call return only when the operation is over, however long the context has been.
	IgnoreContext bool
}

type activeRule struct {
	Rule
	seen, applied int
}

func newActiveRule(rule Rule) *activeRule {
	if rule.Ops == 0 {
		rule.Ops = Any
	}
	if rule.Err == nil {
		rule.Err = ErrInjected
	}
	return &activeRule{Rule: rule}
}

func (r *activeRule) matches(op Op, key string, random *rand.Rand) bool {
	if r.Ops&op == 0 || (r.Key != nil && !r.Key(key)) || (r.Times > 0 && r.applied >= r.Times) {
		return false
	}
	if r.seen++; r.seen <= r.Skip {
		return false
	}
	if r.Chance > 0 && random.Float64() >= r.Chance {
		return false
	}
	r.applied++
	return true
}

// plan is what the rules have decided about one call.
type plan struct {
	delay         time.Duration
	holds         []<-chan struct{}
	failBefore    error
	failAfter     error
	truncateBytes int64
	truncateErr   error
	detach        bool
	ignoreContext bool
}

func (p *plan) add(rule Rule, random *rand.Rand) {
	p.delay += rule.Latency.sample(random)
	if rule.Hold != nil {
		p.holds = append(p.holds, rule.Hold)
	}
	if rule.Fail && p.failBefore == nil {
		p.failBefore = rule.Err
	}
	if rule.FailAfter && p.failAfter == nil {
		p.failAfter = rule.Err
	}
	if rule.Truncate > 0 && p.truncateErr == nil {
		p.truncateBytes, p.truncateErr = rule.Truncate, rule.Err
	}
	p.detach = p.detach || rule.Detach
	p.ignoreContext = p.ignoreContext || rule.IgnoreContext
}
