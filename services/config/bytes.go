package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Bytes is a size as an operator writes it: "64MiB", "1GiB", "1048576".
type Bytes int64

// Binary multiples.
const (
	KiB Bytes = 1 << 10
	MiB Bytes = 1 << 20
	GiB Bytes = 1 << 30
)

var byteUnits = []struct {
	suffix string
	factor Bytes
}{{"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}, {"B", 1}, {"", 1}}

// String writes the size in the largest unit that divides it.
func (b Bytes) String() string {
	for _, u := range byteUnits[:3] {
		if b >= u.factor && b%u.factor == 0 {
			return fmt.Sprintf("%d%s", b/u.factor, u.suffix)
		}
	}
	return strconv.FormatInt(int64(b), 10)
}

// Set reads a size.
func (b *Bytes) Set(text string) error {
	for _, u := range byteUnits {
		digits, found := strings.CutSuffix(strings.TrimSpace(text), u.suffix)
		if !found {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || (n != 0 && Bytes(n) > math.MaxInt64/u.factor) {
			break
		}
		*b = Bytes(n) * u.factor
		return nil
	}
	return fmt.Errorf("want a size such as 64MiB, 1GiB or 1048576")
}

// Type names the kind of value in the help.
func (*Bytes) Type() string { return "bytes" }
