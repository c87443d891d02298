package lane

import "time"

// tokens is a token bucket. It may go into debt, by at most one burst.
type tokens struct {
	perSecond float64
	burst     float64
	level     float64
	at        time.Time
}

func newTokens(perSecond float64, burst int) *tokens {
	return &tokens{perSecond: perSecond, burst: float64(burst), level: float64(burst), at: time.Now()}
}

func (t *tokens) refill(now time.Time) {
	t.level = min(t.burst, t.level+now.Sub(t.at).Seconds()*t.perSecond)
	t.at = now
}

// wait returns how long it is until there is a token; 0 if there is one.
func (t *tokens) wait(now time.Time) time.Duration {
	t.refill(now)
	if t.level >= 1 {
		return 0
	}
	return time.Duration((1-t.level)/t.perSecond*float64(time.Second)) + time.Microsecond
}

// charge takes a token, whether or not there is one.
func (t *tokens) charge(now time.Time) {
	t.refill(now)
	t.level = max(-t.burst, t.level-1)
}
