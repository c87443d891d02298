package kafka

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// mute makes the connection's reader wait before its next request.
func (c *conn) mute(d time.Duration) {
	if d <= 0 {
		return
	}
	until := int64(c.server.uptime() + d)
	for {
		was := c.mutedUntil.Load()
		if was >= until || c.mutedUntil.CompareAndSwap(was, until) {
			return
		}
	}
}

// muted is how long the connection is not to be read yet.
func (c *conn) muted() time.Duration { return time.Duration(c.mutedUntil.Load()) - c.server.uptime() }

// awaitUnmuted waits until the connection may be read; false where it is not to be read any more. It waits no longer than a connection may be
// idle: whoever has to wait for hours has gone long before, and nobody would notice.
func (c *conn) awaitUnmuted() bool {
	ends := time.Now().Add(c.server.config.ConnectionsMaxIdle)
	for {
		left := c.muted()
		if left <= 0 {
			return true
		}
		idle := time.Until(ends)
		if idle <= 0 {
			return false
		}
		timer := time.NewTimer(min(left, idle))
		select {
		case <-timer.C:
		case <-c.poll.Done():
			timer.Stop()
			return false
		}
	}
}

// throttleMillis is a wait as answers tell it. A wait too short for it is none.
func throttleMillis(d time.Duration) int32 { return int32(d / time.Millisecond) }

// busyPercent is time of the node's as the request quota counts it: hundredths of a second of one thread.
func busyPercent(d time.Duration) float64 { return d.Seconds() * 100 }

// chargeRequest charges the time that a request took of the node's own.
func (c *conn) chargeRequest(client *quotaClient, x *exchange, busy time.Duration) time.Duration {
	now := time.Now()
	client.look(c.server.quotas, x.header.clientID, now)
	return client.charge(requestQuota, busyPercent(busy), now)
}

// throttle tells a response's client how long to wait, and makes it.
func (c *conn) throttle(response kmsg.Response, wait time.Duration) {
	if wait < time.Millisecond {
		return
	}
	if throttled, ok := response.(kmsg.SetThrottleResponse); ok {
		throttled.SetThrottle(throttleMillis(wait))
	}
	c.mute(wait)
}

// chargeMutations charges for partitions that are created or deleted (KIP-599). Where the version knows the error, it is refused as long as there
// is a debt; else it is let through, and the client waits.
func (c *call) chargeMutations(partitions int, strictFrom int16) *kerr.Error {
	now := time.Now()
	c.conn.answerQuota.look(c.server().quotas, c.header.clientID, now)
	bucket := c.conn.answerQuota.buckets[mutationQuota]
	if bucket == nil {
		return nil
	}
	if c.header.version < strictFrom {
		c.addWait(bucket.take(float64(partitions), now))
		return nil
	}
	wait, taken := bucket.takeUnlessOwing(float64(partitions), now)
	if taken {
		return nil
	}
	c.addWait(wait)
	return kerr.ThrottlingQuotaExceeded
}

// addWait notes that the client has to wait. Handlers that work in parallel may call it.
func (c *call) addWait(d time.Duration) {
	c.wait.Lock()
	defer c.wait.Unlock()
	c.wait.longest = max(c.wait.longest, d)
}
