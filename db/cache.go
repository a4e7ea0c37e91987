package db

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// cache keeps what was read by a key together with the stamp from before. Nothing is ever removed by hand: a commit makes every
// entry stale, whoever made it. Its size is fixed, so that what clients ask for cannot fill the memory: each key has two places, and
// a new entry takes the place of a stale one first.
type cache[V any] struct {
	changes *changes
	places  [cachePlaces]atomic.Pointer[cached[V]]
}

// cachePlaces bounds a cache to some 6 MB.
const cachePlaces = 1 << 14

type cached[V any] struct {
	key   cacheKey
	stamp stamp
	value V
}

// cacheKey is the hash of a token, and the host or the session that is asked about.
type cacheKey struct {
	hash [sha256.Size]byte
	name string
}

var cacheSeed = maphash.MakeSeed()

// places are where the entry of a key may be. A token's hash is as good as random, and nobody can aim at a place.
func (c *cache[V]) placesOf(key cacheKey) (first, second *atomic.Pointer[cached[V]]) {
	i := (binary.LittleEndian.Uint64(key.hash[:]) ^ maphash.String(cacheSeed, key.name)) % cachePlaces
	return &c.places[i], &c.places[i^1]
}

// get returns what is cached for a key, or else what read returns, which it keeps unless that is an error. What it returns is shared:
// it must not be changed.
func (c *cache[V]) get(key cacheKey, read func() (V, error)) (V, error) {
	now, ok := c.changes.loadStamp() // before the row is read
	if !ok {
		return read()
	}
	first, second := c.placesOf(key)
	if entry := first.Load(); entry.holds(key, now) {
		return entry.value, nil
	}
	if entry := second.Load(); entry.holds(key, now) {
		return entry.value, nil
	}
	value, err := read()
	if err != nil {
		return value, err
	}
	place := first
	if entry := first.Load(); entry != nil && entry.stamp == now {
		place = second
	}
	key.name = strings.Clone(key.name) // it may be a part of a whole request
	place.Store(&cached[V]{key, now, value})
	return value, nil
}

func (e *cached[V]) holds(key cacheKey, now stamp) bool {
	return e != nil && e.stamp == now && e.key == key
}
