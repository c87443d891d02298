package rpc

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
)

const tokenScheme = "Varve "

// token is what callers show. It is derived, so that the secret itself never travels, and bound to the cluster. It has no
// expiry: clocks of a cluster's machines may be off by any amount.
func token(secret []byte, clusterID string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("varve internal listener v1\x00" + clusterID))
	return tokenScheme + hex.EncodeToString(mac.Sum(nil))
}

func sameToken(shown, expected string) bool {
	// Comparing hashes makes the comparison independent of the shown token's length too.
	a, b := sha256.Sum256([]byte(shown)), sha256.Sum256([]byte(expected))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}
