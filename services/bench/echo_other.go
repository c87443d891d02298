//go:build !linux

package bench

import (
	"context"
	"time"
)

func bareEcho(context.Context, time.Duration) (cpu time.Duration, requests int64, err error) {
	return 0, 0, checkPlatform()
}
