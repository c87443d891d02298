package bus

import (
	"net/url"
	"strings"
)

// Redact removes passwords from a comma-separated list of server addresses, for messages.
func Redact(list string) string {
	addresses := strings.Split(list, ",")
	for i, address := range addresses {
		if parsed, err := url.Parse(strings.TrimSpace(address)); err == nil {
			addresses[i] = parsed.Redacted()
		}
	}
	return strings.Join(addresses, ",")
}
