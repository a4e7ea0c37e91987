package db

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/maphash"
	"strings"
	"sync/atomic"
)

// cache stores values by key, each with the stamp that was loaded before the value was read. Nothing is removed explicitly, because
// every commit, of any process, makes all entries stale. Its size is fixed, so that requests cannot fill the memory: each key has two
// places, and a new entry replaces a stale one first.
type cache[V any] struct {
	walIndex *walIndex
	places   [cachePlaces]atomic.Pointer[cached[V]]
}

// cachePlaces is how many entries a cache has at most. Sessions then take 13 MB and auth checks 10 MB, and each 6 MB more if every
// User-Agent is as long as the handlers allow. Each app of a session, which only entries by id have, adds about 100 bytes,
// and each group of a user adds at most 33 bytes to an auth check.
const cachePlaces = 1 << 14

type cached[V any] struct {
	key   cacheKey
	stamp stamp
	value V
}

// cacheKey is what finds an entry: the hash of a token, the hash and a host for an auth check, or the id of a session.
type cacheKey struct {
	hash [sha256.Size]byte // of the token; zero for an id
	name string            // the host or the id
}

var cacheSeed = maphash.MakeSeed()

// placesOf returns where the entry of a key may be. The places depend on a hash and a random seed, so a client cannot target one.
func (c *cache[V]) placesOf(key cacheKey) (first, second *atomic.Pointer[cached[V]]) {
	i := (binary.LittleEndian.Uint64(key.hash[:]) ^ maphash.String(cacheSeed, key.name)) % cachePlaces
	return &c.places[i], &c.places[i^1]
}

// get returns the cached value of a key if it is still valid. Otherwise it calls read and caches the result, unless that is an error. The
// value is shared, so the caller must not change it.
func (c *cache[V]) get(key cacheKey, read func() (V, error)) (*V, error) {
	now, ok := c.walIndex.loadStamp() // before the row is read
	if !ok {
		value, err := read()
		return &value, err
	}
	first, second := c.placesOf(key)
	if entry := first.Load(); entry.holds(key, now) {
		return &entry.value, nil
	}
	if entry := second.Load(); entry.holds(key, now) {
		return &entry.value, nil
	}
	value, err := read()
	if err != nil {
		return nil, err
	}
	place := first
	if entry := first.Load(); entry != nil && entry.stamp == now {
		place = second
	}
	key.name = strings.Clone(key.name) // it may be a part of a whole request
	fresh := &cached[V]{key, now, value}
	place.Store(fresh)
	return &fresh.value, nil
}

func (e *cached[V]) holds(key cacheKey, now stamp) bool {
	return e != nil && e.stamp == now && e.key == key
}
