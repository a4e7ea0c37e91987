package db

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// keySize is the length of the server's secret and of every key derived from it, in bytes.
const keySize = 32

// serverKey is the one secret of the server, stored in porchlight.key beside the database. It is never used directly: each purpose has
// a key that is derived from it.
type serverKey []byte

// derive returns the key for one purpose. Two purposes never share a key.
func (k serverKey) derive(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, k, nil, "porchlight "+purpose, keySize)
	if err != nil {
		panic(err) // only a longer key could fail
	}
	return key
}

// DerivedKey returns the key for one purpose outside this package, 32 bytes long.
func (s *Store) DerivedKey(purpose string) []byte { return s.key.derive(purpose) }

const keyName = "porchlight.key"

// openKey reads the key file, or creates it. If the file is missing, or is another one, although secrets in the database were encrypted
// with it, a server does not start. A command does, because it may have to end sessions or to reset the second factor of those users.
func (s *Store) openKey() error {
	folder := filepath.Dir(s.options.Path)
	path := filepath.Join(folder, keyName)
	sealed, err := s.sealedTOTPs()
	if err != nil {
		return err
	}
	var key serverKey // in memory only, if it is missing
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) || len(sealed) == 0 {
		if key, err = openServerKey(folder); err != nil {
			return err
		}
	}
	err = s.useKey(key, path, sealed)
	if err != nil && !s.options.Serve {
		s.options.Warn(err.Error())
		return nil
	}
	return err
}

// useKey sets the key; nil means that the file is missing. It returns an error if secrets in the database were encrypted with another one.
func (s *Store) useKey(key serverKey, path string, sealed []sealedTOTP) error {
	problem := "is not the one that the authenticator apps of %s need"
	if s.key = key; key == nil {
		problem = "is missing, but the authenticator apps of %s need it"
		s.key = newServerKey()
	}
	s.attemptSecret = s.key.derive("attempts")
	s.usernameSecret = s.key.derive("deleted usernames")
	s.totpCipher = newTOTPCipher(s.key)
	var locked []string
	for _, row := range sealed {
		if _, err := s.openTOTP(row.userID, row.secret); err != nil {
			locked = append(locked, row.username)
		}
	}
	if len(locked) == 0 {
		return nil
	}
	return fmt.Errorf("the key file %s "+problem+"; restore it from a backup, or run porchlight user set NAME --reset-second-factor "+
		"for each of these users", path, listNames(locked))
}

func (s *Store) sealedTOTPs() ([]sealedTOTP, error) {
	sealed, err := queryAll(s.reader, scanSealedTOTP, `
		SELECT u.username, t.user_id, t.secret
		FROM totp t JOIN users u ON u.id = t.user_id
		WHERE t.on_at > 0
		ORDER BY u.username`)
	return sealed, explain(s.options.Path, err)
}

type sealedTOTP struct {
	username string
	userID   int64
	secret   []byte
}

func scanSealedTOTP(row scanner) (t sealedTOTP, err error) {
	err = row.Scan(&t.username, &t.userID, &t.secret)
	return t, err
}

// listNames joins names for a message, which shows at most five.
func listNames(names []string) string {
	if more := len(names) - 5; more > 0 {
		names = append(names[:5:5], fmt.Sprintf("%d more", more))
	}
	return strings.Join(names, ", ")
}

// openServerKey reads the key file in the folder, and creates it if it is missing. It never replaces one, because what was encrypted or
// signed with the old key would be lost.
func openServerKey(folder string) (serverKey, error) {
	path := filepath.Join(folder, keyName)
	key, err := readServerKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := createServerKey(path); err != nil {
			return nil, fmt.Errorf("cannot create the key file %s: %w; check who owns the folder, or choose another with --data", path, err)
		}
		key, err = readServerKey(path)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("cannot protect the key file: %w", err)
	}
	return key, nil
}

func readServerKey(path string) (serverKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the key file: %w; check who owns it", err)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("the key file %s is malformed: it must hold %d hexadecimal digits; restore it from a backup",
			path, hex.EncodedLen(keySize))
	}
	return key, nil
}

func newServerKey() serverKey {
	key := make(serverKey, keySize)
	rand.Read(key)
	return key
}

// createServerKey writes a new key to a temporary file and gives the file its name once it is on disk, so a crash leaves a whole key or
// none. If another process has created the key file in the meantime, that file stays.
func createServerKey(path string) error {
	aside, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.partial") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(aside.Name())
	_, err = fmt.Fprintf(aside, "%x\n", newServerKey())
	if err := errors.Join(err, inheritOwner(aside), aside.Sync(), aside.Close()); err != nil {
		return err
	}
	if err := publish(aside.Name(), path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
