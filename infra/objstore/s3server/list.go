package s3server

import (
	"encoding/xml"
	"net/http"
	"strconv"
	"time"
)

// maxListed is how many objects one answer lists at most, as with S3.
const maxListed = 1000

type listResult struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	Prefix                string
	KeyCount              int
	MaxKeys               int
	IsTruncated           bool
	NextContinuationToken string `xml:",omitempty"`
	Contents              []listed
}

type listed struct {
	Key          string
	LastModified string
	ETag         string
	Size         int64
}

// list answers ListObjectsV2. A continuation token is the last key of the answer before.
func (h handler) list(w http.ResponseWriter, r *http.Request) error {
	query := r.URL.Query()
	after := query.Get("start-after")
	if token := query.Get("continuation-token"); token != "" {
		after = token
	}
	result := listResult{Prefix: query.Get("prefix"), MaxKeys: maxListed}
	if n, err := strconv.Atoi(query.Get("max-keys")); err == nil {
		result.MaxKeys = min(n, maxListed)
	}
	for info, err := range h.store.List(r.Context(), result.Prefix, after) {
		if err != nil {
			return err
		}
		if len(result.Contents) == result.MaxKeys {
			result.IsTruncated = true
			result.NextContinuationToken = result.Contents[len(result.Contents)-1].Key
			break
		}
		result.Contents = append(result.Contents, listed{
			Key: info.Key, LastModified: info.Modified.UTC().Format(time.RFC3339Nano), ETag: quoted(info.Version), Size: info.SizeBytes,
		})
	}
	result.KeyCount = len(result.Contents)
	w.Header().Set("Content-Type", "application/xml")
	return xml.NewEncoder(w).Encode(result)
}
