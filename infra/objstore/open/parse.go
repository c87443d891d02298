package open

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/varvelog/varve/infra/objstore"
	"github.com/varvelog/varve/infra/objstore/minio"
	"github.com/varvelog/varve/infra/objstore/s3"
)

// ErrURL: the URL is not understood; the message names the part.
var ErrURL = errors.New("invalid object store URL")

// schemes in the order in which messages list them.
const schemes = "file, mem, s3, minio"

func parse(rawURL string) (opener, error) {
	open, err := parseScheme(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrURL, withoutUser(rawURL), err)
	}
	return open, nil
}

func parseScheme(rawURL string) (opener, error) {
	scheme, rest, found := strings.Cut(rawURL, "://")
	if !found {
		return nil, fmt.Errorf("scheme: missing; one of %s, as in file:///var/lib/varve/bucket", schemes)
	}
	if strings.Contains(rest, "#") {
		return nil, errors.New("fragment: not taken; write '#' in a directory's name as %23")
	}
	// url.Parse would refuse some directories as hosts, so the parts are cut here.
	path, query, _ := strings.Cut(rest, "?")
	path, err := url.PathUnescape(path)
	if err != nil {
		return nil, fmt.Errorf("path: %w", err)
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("parameters: %w", err)
	}
	p := parameters{values: values}
	var open opener
	switch scheme {
	case "file":
		if path == "" {
			return nil, errors.New("directory: missing")
		}
		open = openFile(filepath.FromSlash(path))
	case "mem":
		open = openMem(path)
	case "s3":
		open, err = parseS3(path, &p)
	case "minio":
		open, err = parseMinIO(path, &p)
	default:
		return nil, fmt.Errorf("scheme: %q is none of %s", scheme, schemes)
	}
	if err := errors.Join(err, p.finish()); err != nil {
		return nil, err
	}
	return open, nil
}

func parseS3(path string, p *parameters) (opener, error) {
	bucket, prefix, err := cutBucket(path)
	if err != nil {
		return nil, err
	}
	config := s3.Config{
		Bucket: bucket, Prefix: prefix,
		Region: p.text("region"), Endpoint: p.text("endpoint"), CreateBucket: p.boolean("create", false),
	}
	if config.CreateBucket && config.Endpoint == "" {
		return nil, errors.New("create: only together with endpoint")
	}
	return openS3(config), config.Validate()
}

func parseMinIO(path string, p *parameters) (opener, error) {
	address, path, _ := strings.Cut(path, "/")
	if strings.Contains(address, "@") {
		return nil, errors.New("user: credentials are taken from the environment, never from the URL")
	}
	bucket, prefix, err := cutBucket(path)
	if err != nil {
		return nil, err
	}
	config := minio.Config{
		Address: address, Insecure: !p.boolean("secure", true),
		Bucket: bucket, Prefix: prefix, Region: p.text("region"), CreateBucket: p.boolean("create", false),
	}
	// Credentials come when the store is opened; the rest can be judged now.
	check := config
	check.AccessKey, check.SecretKey = "later", "later"
	return openMinIO(config), check.Validate()
}

// cutBucket splits "bucket/prefix"; one slash at the end is forgiven.
func cutBucket(path string) (bucket, prefix string, err error) {
	bucket, prefix, _ = strings.Cut(path, "/")
	if bucket == "" {
		return "", "", errors.New("bucket: missing")
	}
	if strings.ContainsAny(bucket, "@:") {
		return "", "", fmt.Errorf("bucket: %q is no bucket's name", withoutUser(bucket))
	}
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix != "" {
		if err := objstore.ValidateKey(prefix); err != nil {
			return "", "", fmt.Errorf("prefix: %w", err)
		}
	}
	return bucket, prefix, nil
}

// withoutUser hides what stands before an '@' in the place of a host: credentials that somebody put there.
func withoutUser(rawURL string) string {
	scheme, rest, found := strings.Cut(rawURL, "://")
	if !found {
		scheme, rest = "", rawURL
	}
	host, path, _ := strings.Cut(rest, "/")
	if at := strings.LastIndexByte(host, '@'); at >= 0 {
		rest = "…" + host[at:]
		if path != "" {
			rest += "/" + path
		}
	}
	if !found {
		return rest
	}
	return scheme + "://" + rest
}

// parameters are taken one by one; what is left at the end is unknown.
type parameters struct {
	values url.Values
	errs   []error
}

func (p *parameters) text(name string) string {
	values := p.values[name]
	delete(p.values, name)
	if len(values) > 1 {
		p.errs = append(p.errs, fmt.Errorf("parameter %s: given %d times", name, len(values)))
	}
	if len(values) == 0 {
		return ""
	}
	return values[0]
}

func (p *parameters) boolean(name string, unset bool) bool {
	text := p.text(name)
	if text == "" {
		return unset
	}
	value, err := strconv.ParseBool(text)
	if err != nil {
		p.errs = append(p.errs, fmt.Errorf("parameter %s: %q is neither true nor false", name, text))
	}
	return value
}

func (p *parameters) finish() error {
	for name := range p.values {
		p.errs = append(p.errs, fmt.Errorf("parameter %s: unknown", name))
	}
	return errors.Join(p.errs...)
}
