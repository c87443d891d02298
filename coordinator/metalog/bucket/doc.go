// Package bucket keeps the metadata log in the bucket itself: one object for each entry, created by conditional PUT, so that
// no disk and no server is needed and every append costs a PUT.
//
// An entry is meta/log/<sequence, 20 digits>; FORMAT.md describes the object. PUT with If-None-Match:* on the next sequence
// is the compare-and-append; a store that ignores the header must have been refused before (objstore.Probe).
//
// Truncation deletes every entry below a sequence except those marked Fence, which stay for ever: a writer that slept
// through a take-over has its next sequence at the take-over's fence, and finds it taken however late it wakes. What
// truncation leaves below the log's first entry is not part of the log; the log is the highest range without gaps.
//
// The log is listed when it is opened. Afterwards its end is found by asking for the next slots, and a listing from there on that finds nothing: they
// may be free because the log was cut past them. Who reads stops at an end that was seen after the call, however fast the log grows meanwhile.
package bucket
