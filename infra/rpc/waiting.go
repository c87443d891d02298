package rpc

import (
	"net/http"
	"strings"
)

// waiting are the methods in whose calls members of groups wait for others, or for records: for minutes, and as many as there are. They have connections and bounds of their
// own, so that pings and commits are never kept by them.
var waiting = map[string]bool{}

// Waiting declares that calls of method wait, and returns it. It is called while packages are initialised, of caller and callee.
func Waiting(method string) string {
	waiting[method] = true
	return method
}

// waits says whether a request is a call that waits.
func waits(r *http.Request) bool {
	method, found := strings.CutPrefix(r.URL.Path, "/v1/")
	return found && waiting[method]
}
