package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
)

// The errors of a call apart from those the callee returns.
var (
	// ErrUnreachable: no connection could be made; the callee has seen nothing.
	ErrUnreachable = errors.New("cannot be reached")
	// ErrBroken: the call was sent and no answer was understood; it may have been executed.
	ErrBroken = errors.New("call broke off")
	// ErrOverloaded: the callee has its bound of calls in flight; it was not executed.
	ErrOverloaded = errors.New("too many calls in flight")
	// ErrUnauthorized: the callee is of another cluster, has another secret, or is of a build that proves it in another way; it was not executed.
	ErrUnauthorized = errors.New("cluster secret was refused")
	// ErrUnsigned is an ErrUnauthorized of a callee whose build proves it in another way. It may be of this cluster.
	ErrUnsigned = fmt.Errorf("%w by a process of a build that does not sign its calls", ErrUnauthorized)
	// ErrStranger: who answers at the address does not prove to be of the cluster; it was told nothing.
	ErrStranger = errors.New("who answers does not prove to be of the cluster")
	// ErrTooLarge: the body is above the callee's bound; it was not executed.
	ErrTooLarge = errors.New("request is too large")
	// ErrBadRequest: the callee could not read the request; it was not executed.
	ErrBadRequest = errors.New("request was not understood")
	// ErrUnknownMethod: the callee serves no such method; it was not executed.
	ErrUnknownMethod = errors.New("unknown method")
)

// Error is what a callee answered instead of a result. It unwraps to the sentinel registered under its code, if there is one.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	// Leader is the internal address of the coordinator's leader as far as the callee knows it, or empty.
	Leader string `json:"leader,omitempty"`
	// Incarnation is the callee's, where the call named another.
	Incarnation uint64 `json:"incarnation,omitempty"`
}

func (e *Error) Error() string { return e.Message }

// Unwrap returns the sentinel of the code, or nil.
func (e *Error) Unwrap() error { return sentinelOf(e.Code) }

// NotLeader wraps err with the address of the leader, which the caller's Error then carries.
func NotLeader(err error, leader string) error { return &hinted{err: err, leader: leader} }

type hinted struct {
	err    error
	leader string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// codeInternal stands for every error without a registered sentinel.
const codeInternal = "INTERNAL"

type registration struct {
	code     string
	sentinel error
	status   int
}

var registered struct {
	sync.RWMutex
	list []registration
}

// RegisterError makes sentinel survive the wire under code. Packages call it for their own sentinels from init; registering a
// code twice is a broken invariant.
func RegisterError(code string, sentinel error) { register(code, sentinel, http.StatusConflict) }

func register(code string, sentinel error, status int) {
	registered.Lock()
	defer registered.Unlock()
	for _, r := range registered.list {
		if r.code == code {
			panic("rpc: error code registered twice: " + code)
		}
	}
	registered.list = append(registered.list, registration{code: code, sentinel: sentinel, status: status})
}

func init() {
	register("OVERLOADED", ErrOverloaded, http.StatusServiceUnavailable)
	register("UNAUTHORIZED", ErrUnauthorized, http.StatusUnauthorized)
	register("TOO_LARGE", ErrTooLarge, http.StatusRequestEntityTooLarge)
	register("BAD_REQUEST", ErrBadRequest, http.StatusBadRequest)
	register("UNKNOWN_METHOD", ErrUnknownMethod, http.StatusNotFound)
	register("DEADLINE_EXCEEDED", context.DeadlineExceeded, http.StatusGatewayTimeout)
}

func sentinelOf(code string) error {
	registered.RLock()
	defer registered.RUnlock()
	for _, r := range registered.list {
		if r.code == code {
			return r.sentinel
		}
	}
	return nil
}

// describe finds the registration of err.
func describe(err error) registration {
	registered.RLock()
	defer registered.RUnlock()
	for _, r := range registered.list {
		if errors.Is(err, r.sentinel) {
			return r
		}
	}
	return registration{code: codeInternal, status: http.StatusInternalServerError}
}

// WriteError answers a request with err. Handlers of streaming reads use it before they have written anything.
func WriteError(w http.ResponseWriter, err error) {
	status, body := encodeError(err)
	writeError(w, status, body)
}

func encodeError(err error) (status int, encoded []byte) {
	r := describe(err)
	body := Error{Code: r.code, Message: err.Error()}
	var h *hinted
	if errors.As(err, &h) {
		body.Leader = h.leader
	}
	var other *otherIncarnation
	if errors.As(err, &other) {
		body.Incarnation = other.incarnation
	}
	encoded, marshalErr := json.Marshal(body)
	if marshalErr != nil {
		panic(fmt.Sprintf("rpc: strings and a number do not marshal: %v", marshalErr))
	}
	return r.status, encoded
}

func writeError(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		return // a caller that has gone needs no answer
	}
}
