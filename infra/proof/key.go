package proof

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
)

// Size is the length of a code in bytes.
const Size = sha256.Size

// Key makes and checks codes for one purpose. It may be used concurrently.
type Key struct {
	states sync.Pool // of *state
}

type state struct {
	mac    hash.Hash
	length [8]byte
	code   [Size]byte
}

// Derive returns what everybody who knows secret gets for purpose in a cluster, and nobody else; from it follows nothing of secret, nor of what
// is derived for another purpose.
func Derive(secret []byte, purpose, clusterID string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(purpose + "\x00" + clusterID))
	return mac.Sum(nil)
}

// NewKey returns the key that is derived for purpose.
func NewKey(secret []byte, purpose, clusterID string) *Key {
	derived := Derive(secret, purpose, clusterID)
	k := new(Key)
	k.states.New = func() any { return &state{mac: hmac.New(sha256.New, derived)} }
	return k
}

// Append appends the code of parts to dst. A part counts with its length: parts that are divided in another way have another code.
func (k *Key) Append(dst []byte, parts ...[]byte) []byte {
	s := k.compute(parts)
	defer k.states.Put(s)
	return append(dst, s.code[:]...)
}

// Proves says whether code is that of parts. How long it takes tells nothing of the right one.
func (k *Key) Proves(code []byte, parts ...[]byte) bool {
	s := k.compute(parts)
	defer k.states.Put(s)
	return hmac.Equal(code, s.code[:])
}

func (k *Key) compute(parts [][]byte) *state {
	s := k.states.Get().(*state)
	s.mac.Reset()
	for _, part := range parts {
		binary.BigEndian.PutUint64(s.length[:], uint64(len(part)))
		s.mac.Write(s.length[:])
		s.mac.Write(part)
	}
	s.mac.Sum(s.code[:0])
	return s
}
