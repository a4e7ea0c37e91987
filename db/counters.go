package db

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
	"strconv"
	"time"
)

// counter is one of the limits that an attempt counts against.
type counter struct {
	key         attemptKey
	most        int // attempts within the window
	window      time.Duration
	consecutive bool // maxConsecutiveFailures applies too
	hidden      bool // a full counter does not refuse the attempt; it makes it fail like a wrong password
}

// attemptKey names a counter in the database. It is an HMAC, because people type passwords into the name field.
type attemptKey [sha256.Size]byte

func (s *Store) attemptKey(kind, name string) (key attemptKey) {
	mac := hmac.New(sha256.New, s.attemptSecret)
	mac.Write([]byte(kind + "\x00" + name))
	mac.Sum(key[:0])
	return key
}

// accountCounters count the attempts at one account, or at a name that no account has.
//
// Somebody from outside must not find out which username and which e-mail address belong together. If both had one
// visible counter, ten wrong passwords for the username would block the address too, and so tell. Therefore what can be
// seen (429, Retry-After, the lockout) depends only on the name as it was typed. A second counter holds the account
// itself to ten guesses, whichever name they come by, and is hidden: once it is full, every password is wrong. A guesser
// sees the same for the other name as for a name that nobody has: ten wrong passwords, then 429. The owner may
// be told that the right password is wrong, but only while somebody attacks the account by its other name.
//
// A name that no account has gets the same two counters, so that a failure costs the same writes.
//
// A known device of the user will be counted here by itself.
func (s *Store) accountCounters(name string, userID int64) []counter {
	return []counter{
		{key: s.attemptKey("name", name), most: attemptsPerAccount, window: attemptsWindow, consecutive: true},
		{key: s.accountKey(name, userID), most: attemptsPerAccount, window: attemptsWindow, consecutive: true, hidden: true},
	}
}

func (s *Store) accountKey(name string, userID int64) attemptKey {
	if userID == 0 {
		return s.attemptKey("no account", name)
	}
	return s.attemptKey("account", strconv.FormatInt(userID, 10))
}

// sessionCounters count by the session alone: strangers' failures never keep the owner from changing the password, and
// somebody at an unattended browser gets ten guesses.
func (s *Store) sessionCounters(sessionID string) []counter {
	return []counter{{key: s.attemptKey("session", sessionID), most: attemptsPerSession, window: attemptsWindow}}
}

func (s *Store) addressCounters(ip string) []counter {
	network, site := networks(ip)
	counters := []counter{{key: s.attemptKey("address", network), most: attemptsPerAddress, window: attemptsWindow}}
	if site != "" {
		counters = append(counters, counter{key: s.attemptKey("address", site), most: attemptsPerSite, window: attemptsWindow})
	}
	return counters
}

// networks returns what counts as one address: an IPv6 network (/64), because a single customer has all of it, or else the IP
// address itself. An IPv6 address is also part of a site (/48).
func networks(ip string) (network, site string) {
	address, err := netip.ParseAddr(ip)
	if err != nil || address.Unmap().Is4() {
		return ip, ""
	}
	of64, _ := address.Prefix(64)
	of48, _ := address.Prefix(48)
	return of64.String(), of48.String()
}
