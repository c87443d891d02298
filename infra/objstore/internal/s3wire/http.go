package s3wire

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Tune sets limits on a transport: an SDK's defaults wait for ever for an answer and keep too few connections.
func Tune(transport *http.Transport) {
	transport.DialContext = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	transport.TLSHandshakeTimeout = 10 * time.Second
	// From the request's last byte to the answer's first. S3 answers a large completion within tens of seconds.
	transport.ResponseHeaderTimeout = time.Minute
	transport.MaxIdleConns = 128
	transport.MaxIdleConnsPerHost = 128
	transport.MaxConnsPerHost = 256
	transport.IdleConnTimeout = 90 * time.Second
	// Objects come as they are stored.
	transport.DisableCompression = true
}

// rangeHeader asks for length bytes from offset, -1 meaning to the end; empty for the whole object.
func rangeHeader(offset, length int64) string {
	switch {
	case length < 0 && offset == 0:
		return ""
	case length < 0:
		return fmt.Sprintf("bytes=%d-", offset)
	}
	return fmt.Sprintf("bytes=%d-%d", offset, offset+length-1)
}

// TotalBytes returns the whole object's size from an answer: the total of Content-Range ("bytes 0-9/100"), or, without a
// range, the content's length.
func TotalBytes(contentRange string, contentLength int64) (int64, error) {
	if contentRange == "" {
		return contentLength, nil
	}
	_, total, found := strings.Cut(contentRange, "/")
	if !found {
		return 0, fmt.Errorf("parse Content-Range %q: no total", contentRange)
	}
	sizeBytes, err := strconv.ParseInt(total, 10, 64)
	if err != nil || sizeBytes < 0 {
		return 0, fmt.Errorf("parse Content-Range %q: total is not a size", contentRange)
	}
	return sizeBytes, nil
}

// TrimETag removes an ETag's quotes, which SDKs hand over differently.
func TrimETag(etag string) string { return strings.Trim(etag, `"`) }

// QuoteETag puts them back.
func QuoteETag(etag string) string { return `"` + etag + `"` }
