package db

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"
)

// HashCost is the cost of an Argon2id hash. It always has one lane (p = 1).
type HashCost struct {
	Memory uint32 // KiB
	Time   uint32 // passes
}

// DefaultHashCost is the OWASP Password Storage Cheat Sheet's m = 19 MiB, t = 2, p = 1.
var DefaultHashCost = HashCost{Memory: 19 * 1024, Time: 2}

const (
	hashingAtOnce  = 2  // each takes HashCost.Memory
	hashingWaiting = 64 // about a second's worth
)

// hasher hashes passwords. It limits how many are hashed at once, and how many wait.
type hasher struct {
	cost  HashCost
	queue *workQueue
}

func newHasher(cost HashCost) *hasher {
	return &hasher{cost: cost, queue: newWorkQueue(hashingAtOnce, hashingWaiting)}
}

// hash returns a PHC string: $argon2id$v=19$m=…,t=…,p=1$salt$key.
func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	salt := make([]byte, 16)
	rand.Read(salt)
	var key []byte
	err := h.queue.run(ctx, func() { key = h.cost.key(password, salt) })
	encode := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=1$%s$%s", argon2.Version, h.cost.Memory, h.cost.Time, encode(salt), encode(key)), err
}

// compare reports whether the hash is of this password, and whether it is cheaper than the current cost. An empty hash, for an account
// that does not exist, takes as long and never matches.
func (h *hasher) compare(ctx context.Context, hash, password string) (matches, outdated bool, err error) {
	cost, salt, key, parseErr := parseHash(hash)
	if hash == "" {
		cost, salt, key = h.cost, make([]byte, 16), make([]byte, 32)
	} else if parseErr != nil {
		return false, false, parseErr
	}
	err = h.queue.run(ctx, func() {
		matches = subtle.ConstantTimeCompare(cost.key(password, salt), key) == 1 && hash != ""
	})
	return matches, cost.Memory < h.cost.Memory || cost.Time < h.cost.Time, err
}

// key hashes a password in Unicode's NFC form, so that it is the same from every keyboard. It changes nothing else.
func (c HashCost) key(password string, salt []byte) []byte {
	return argon2.IDKey([]byte(norm.NFC.String(password)), salt, c.Time, c.Memory, 1, 32)
}

func parseHash(hash string) (cost HashCost, salt, key []byte, err error) {
	var version int
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" {
		return cost, nil, nil, errors.New("a stored password hash is not Argon2id")
	}
	if _, err = fmt.Sscanf(parts[2]+" "+parts[3], "v=%d m=%d,t=%d,p=1", &version, &cost.Memory, &cost.Time); err != nil {
		return cost, nil, nil, fmt.Errorf("a stored password hash cannot be read: %w", err)
	}
	if cost.Time < 1 {
		return cost, nil, nil, errors.New("a stored password hash cannot be read: no passes")
	}
	if salt, err = base64.RawStdEncoding.DecodeString(parts[4]); err != nil {
		return cost, nil, nil, err
	}
	key, err = base64.RawStdEncoding.DecodeString(parts[5])
	return cost, salt, key, err
}
