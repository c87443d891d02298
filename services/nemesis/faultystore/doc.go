// Package faultystore stands between an object store and its clients and does what stores do on bad days: answer late, not at all, with 503
// SlowDown, cut connections, and lose answers to requests that were carried out.
package faultystore
