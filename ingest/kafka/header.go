package kafka

import "fmt"

// requestHeader is what stands before every request's body.
//
// Version 1: key, version, correlation id, nullable client id. Version 2, for flexible versions of a request, adds tagged fields; the
// client id stays a non-compact string even there (KIP-482). Version 0 (ControlledShutdown v0 only) is not served.
type requestHeader struct {
	key           int16
	version       int16
	correlationID int32
	clientID      []byte // aliases the frame; nil if null
}

// keyAndVersion reads what decides how the rest of the header reads.
func keyAndVersion(frame []byte) (key, version int16, err error) {
	r := wireReader{b: frame}
	key, version = r.int16(), r.int16()
	if r.failed {
		return 0, 0, fmt.Errorf("read request header: %w", errShort)
	}
	return key, version, nil
}

// parseHeader splits a frame into header and body; flexible tells whether the header ends in tagged fields.
func parseHeader(frame []byte, flexible bool) (h requestHeader, body []byte, err error) {
	r := wireReader{b: frame}
	h.key, h.version = r.int16(), r.int16()
	h.correlationID = r.int32()
	h.clientID = r.nullableString(false)
	if flexible {
		r.tags()
	}
	if r.failed {
		return h, nil, fmt.Errorf("read header of request %d v%d: %w", h.key, h.version, errShort)
	}
	return h, r.b, nil
}

// beginResponse appends room for the frame length and the response header: version 0 (correlation id), or version 1, which adds
// tagged fields. ApiVersions is always answered with version 0, so that a client can read the answer whatever it asked (KIP-511).
func beginResponse(dst []byte, correlationID int32, flexible bool) []byte {
	dst = append(dst, 0, 0, 0, 0)
	dst = appendInt32(dst, correlationID)
	return appendNoTags(dst, flexible)
}

// endResponse writes the frame length at the start of a response that beginResponse began; spliced is the number of bytes that will
// be written between its own.
func endResponse(b []byte, spliced int) {
	n := uint32(len(b) - 4 + spliced)
	b[0], b[1], b[2], b[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
}
