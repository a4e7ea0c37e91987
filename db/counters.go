package db

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
	"strconv"
	"time"
)

// counter is a limit that an attempt counts against.
type counter struct {
	key         attemptKey
	limit       int // failed attempts within the window
	window      time.Duration
	consecutive bool // maxConsecutiveFailures applies too
	hidden      bool // when full, it does not refuse the attempt, but makes it fail like a wrong password
}

// attemptKey names a counter in the database. It is an HMAC, because people type passwords into the name field.
type attemptKey [sha256.Size]byte

func (s *Store) attemptKey(kind, name string) (key attemptKey) {
	mac := hmac.New(sha256.New, s.attemptSecret)
	mac.Write([]byte(kind + "\x00" + name))
	mac.Sum(key[:0])
	return key
}

// signInCounters returns the counters of a sign-in by this name. device is the id of a known browser of the user, or "".
func (s *Store) signInCounters(name string, userID int64, device, ip string) []counter {
	if device != "" {
		return s.deviceCounters(device)
	}
	return append(s.addressCounters(ip), s.accountCounters(name, userID)...)
}

// accountCounters returns the counters of an account, or of a name that no account has.
//
// Nobody must be able to find out which username and which e-mail address belong together. If both shared one visible counter, ten
// wrong passwords for the username would block the address too, and so reveal it. Therefore what can be seen (429, Retry-After, the
// lockout) depends only on the name as it was typed. A second counter limits the account itself to ten guesses by either name, and
// is hidden: once it is full, every password is wrong. For the other name, a guesser sees the same as for a name that nobody has:
// ten wrong passwords, then 429. The owner may see the right password refused, but only while somebody attacks the account by
// its other name.
//
// A name that no account has gets two counters as well, so that a failure costs the same writes.
func (s *Store) accountCounters(name string, userID int64) []counter {
	return []counter{
		{key: s.attemptKey("name", name), limit: attemptsPerAccount, window: attemptsWindow, consecutive: true},
		{key: s.accountKey(name, userID), limit: attemptsPerAccount, window: attemptsWindow, consecutive: true, hidden: true},
	}
}

func (s *Store) accountKey(name string, userID int64) attemptKey {
	if userID == 0 {
		return s.attemptKey("no account", name)
	}
	return s.attemptKey("account", strconv.FormatInt(userID, 10))
}

// sessionCounters returns the only counter of a session. So other people's failures never keep the owner from changing the password,
// and somebody at an unattended browser gets ten guesses.
func (s *Store) sessionCounters(sessionID string) []counter {
	return []counter{{key: s.attemptKey("session", sessionID), limit: attemptsPerSession, window: attemptsWindow}}
}

// deviceCounters returns the only counter of a browser that the user has signed in from before. So nobody can keep the owner out by
// guessing, not even after maxConsecutiveFailures.
func (s *Store) deviceCounters(id string) []counter {
	return []counter{{key: s.deviceKey(id), limit: attemptsPerAccount, window: attemptsWindow, consecutive: true}}
}

func (s *Store) deviceKey(id string) attemptKey { return s.attemptKey("device", id) }

// codeCounters returns the counters of a wrong code. They are not those of a wrong password, because different events reset the two:
//
//   - A finished sign-in resets both kinds of consecutive failures. With a second factor, that takes the right code.
//   - `user passwd`, and a new password by a link, reset all counters of passwords and codes. With a second factor, the link counts only
//     after the right code.
//   - Removing the second factor as an administrator resets those of codes.
//   - Another name or address of the account resets those of passwords only.
//
// So neither the right password nor the mailbox gives more guesses at codes, and an account that is locked after too many wrong passwords
// still accepts the code after a link.
func (s *Store) codeCounters(userID int64, device, ip string) []counter {
	codes := counter{key: s.wrongCodesKey(userID, device), limit: attemptsPerAccount, window: attemptsWindow, consecutive: true}
	if device != "" {
		return []counter{codes}
	}
	return append(s.addressCounters(ip), codes)
}

// wrongCodesKey names the counter of a user's wrong codes in a known browser or, if device is "", in all that are not known.
func (s *Store) wrongCodesKey(userID int64, device string) attemptKey {
	if device != "" {
		return s.attemptKey("codes from device", device)
	}
	return s.attemptKey("codes", strconv.FormatInt(userID, 10))
}

// addressCounters returns the counters of an IP address for attempts at secrets.
func (s *Store) addressCounters(ip string) []counter {
	return s.networkCounters("address", ip, attemptsPerAddress, attemptsPerSite, attemptsWindow)
}

// networkCounters returns the counters of an IP address and, for IPv6, of the site that it is part of, under a name of their own.
func (s *Store) networkCounters(name, ip string, perAddress, perSite int, window time.Duration) []counter {
	network, site := networkAndSite(ip)
	counters := []counter{{key: s.attemptKey(name, network), limit: perAddress, window: window}}
	if site != "" {
		counters = append(counters, counter{key: s.attemptKey(name, site), limit: perSite, window: window})
	}
	return counters
}

// networkAndSite returns what counts as one address: an IPv6 network (/64), because a single customer has all of it, or else the IP
// address itself. An IPv6 address is also part of a site (/48).
func networkAndSite(ip string) (network, site string) {
	address, err := netip.ParseAddr(ip)
	if err != nil || address.Unmap().Is4() {
		return ip, ""
	}
	of64, _ := address.Prefix(64)
	of48, _ := address.Prefix(48)
	return of64.String(), of48.String()
}
