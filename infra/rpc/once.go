package rpc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// callHeader names a call: the incarnation of the callee it is meant for, the caller, and the caller's number for it, in decimal
// with a space between. No two calls have the same name, however often one is sent.
const callHeader = "Varve-Call"

const (
	// windowNumbers is how far numbers may lie below a caller's highest and still be told from those that were seen. Numbers further
	// below are refused as seen: a call that 65,536 others have overtaken is not one that somebody waits for.
	windowNumbers = 1 << 16
	// maxCallers bounds the callers remembered, of up to 8 KiB each. Every process is one, and every restart makes one.
	maxCallers = 1024
	// incarnationTries bounds how often a caller is told that the callee is another.
	incarnationTries = 3
)

var (
	// ErrOtherIncarnation: the call was meant for an earlier life of the callee, or for none yet; it was not executed, nor will a
	// copy of it be.
	ErrOtherIncarnation = errors.New("call is meant for another incarnation")
	// ErrRepeated: a call of this name has come before. Callers see ErrBroken: the earlier copy may have been executed.
	ErrRepeated = errors.New("call has come before")
)

func init() {
	register("OTHER_INCARNATION", ErrOtherIncarnation, http.StatusConflict)
	register("REPEATED", ErrRepeated, http.StatusConflict)
}

// newID returns a number that no other process, and no other life of this one, has; never 0.
func newID() uint64 { return rand.Uint64() | 1 }

// callName is a parsed callHeader.
type callName struct{ incarnation, caller, number uint64 }

func (n callName) String() string {
	text := make([]byte, 0, 64)
	text = strconv.AppendUint(text, n.incarnation, 10)
	text = strconv.AppendUint(append(text, ' '), n.caller, 10)
	text = strconv.AppendUint(append(text, ' '), n.number, 10)
	return string(text)
}

func parseCallName(text string) (n callName, err error) {
	incarnation, rest, _ := strings.Cut(text, " ")
	caller, number, _ := strings.Cut(rest, " ")
	for _, field := range []struct {
		text string
		to   *uint64
	}{{incarnation, &n.incarnation}, {caller, &n.caller}, {number, &n.number}} {
		if *field.to, err = strconv.ParseUint(field.text, 10, 64); err != nil {
			return callName{}, fmt.Errorf("%w: %s %q is not three numbers", ErrBadRequest, callHeader, text)
		}
	}
	return n, nil
}

// once lets each call through at most once. What it remembers ends with its incarnation, and so do the calls meant for it: a copy
// that comes after a restart, when nobody can tell whether it was executed, is refused.
type once struct {
	mu          sync.Mutex
	incarnation uint64
	callers     map[uint64]*window
}

func newOnce() *once { return &once{incarnation: newID(), callers: map[uint64]*window{}} }

// admit returns nil the first time it sees a name, ErrRepeated after that.
func (o *once) admit(n callName) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n.incarnation != o.incarnation {
		return &otherIncarnation{o.incarnation}
	}
	w := o.callers[n.caller]
	if w == nil {
		if len(o.callers) == maxCallers {
			o.incarnation, o.callers = newID(), map[uint64]*window{}
			return &otherIncarnation{o.incarnation}
		}
		w = new(window)
		o.callers[n.caller] = w
	}
	if !w.add(n.number) {
		return fmt.Errorf("%w: number %d of caller %x", ErrRepeated, n.number, n.caller)
	}
	return nil
}

// window is the set of numbers seen, exact for the windowNumbers below and including the highest.
type window struct {
	highest uint64
	seen    []uint64 // bit n%windowNumbers; grows while numbers are small
}

// add reports whether number is new. Numbers begin with 1.
func (w *window) add(number uint64) bool {
	if number == 0 || number+windowNumbers <= w.highest {
		return false
	}
	if number > w.highest {
		if number-w.highest >= windowNumbers {
			clear(w.seen)
		} else {
			for n := w.highest + 1; n < number; n++ {
				w.clear(n)
			}
		}
		w.highest = number
		w.set(number)
		return true
	}
	if w.has(number) {
		return false
	}
	w.set(number)
	return true
}

func (w *window) has(number uint64) bool {
	word, bit := place(number)
	return word < len(w.seen) && w.seen[word]&bit != 0
}

func (w *window) set(number uint64) {
	word, bit := place(number)
	if word >= len(w.seen) {
		grown := make([]uint64, min(max(word+1, 2*len(w.seen)), windowNumbers/64))
		copy(grown, w.seen)
		w.seen = grown
	}
	w.seen[word] |= bit
}

func (w *window) clear(number uint64) {
	if word, bit := place(number); word < len(w.seen) {
		w.seen[word] &^= bit
	}
}

func place(number uint64) (word int, bit uint64) {
	number %= windowNumbers
	return int(number / 64), 1 << (number % 64)
}

// otherIncarnation tells the caller which incarnation to name.
type otherIncarnation struct{ incarnation uint64 }

func (e *otherIncarnation) Error() string {
	return fmt.Sprintf("%v: this is %d", ErrOtherIncarnation, e.incarnation)
}

func (e *otherIncarnation) Unwrap() error { return ErrOtherIncarnation }

// namer gives names to the calls of one caller.
type namer struct {
	caller  uint64
	mu      sync.Mutex
	callees map[string]*callee // by address
}

// callee is what a caller knows of one address. Numbers go on from one incarnation to the next: an answer of a former one that comes late is
// believed until the next call, and no name may be given twice after that.
type callee struct{ incarnation, last uint64 }

func newNamer() *namer { return &namer{caller: newID(), callees: map[string]*callee{}} }

// next returns a name that was not given before. The incarnation is 0, which no callee has, until learn.
func (n *namer) next(addr string) callName {
	n.mu.Lock()
	defer n.mu.Unlock()
	to := n.callees[addr]
	if to == nil {
		to = new(callee)
		n.callees[addr] = to
	}
	to.last++
	return callName{to.incarnation, n.caller, to.last}
}

// learn takes the incarnation from the callee's answer to a call that named another; 0 where nothing is known any more.
func (n *namer) learn(addr string, incarnation uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if to := n.callees[addr]; to != nil {
		to.incarnation = incarnation
	}
}
