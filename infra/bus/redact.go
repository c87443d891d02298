package bus

import (
	"net/url"
	"strings"
)

// Redact removes passwords from a comma-separated list of server addresses, for messages.
func Redact(list string) string {
	addresses := strings.Split(list, ",")
	for i, address := range addresses {
		parsed, err := url.Parse(strings.TrimSpace(address))
		if err == nil {
			addresses[i] = parsed.Redacted()
		} else if at := strings.LastIndexByte(address, '@'); at >= 0 { // it cannot be told what is a password
			addresses[i] = "xxxxx" + address[at:]
		}
	}
	return strings.Join(addresses, ",")
}
