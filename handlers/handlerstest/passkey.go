package handlerstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"net/url"
	"slices"
	"testing"
)

// Flags of authenticator data (WebAuthn 3, 6.1).
const (
	UserPresent    = 0x01
	UserVerified   = 0x04
	BackupEligible = 0x08
	attested       = 0x40
)

// Passkey is an authenticator in software with one passkey. Tests change its fields to make it misbehave.
type Passkey struct {
	Origin     string
	RPID       string
	Flags      byte
	Count      uint32 // of the signatures; Get adds 1
	ID         []byte
	UserHandle []byte // of the user that it was created for
	Challenge  string // signed instead of the one that was asked for, unless it is ""
	Type       string // signed instead of the one that was asked for, unless it is ""
	Transports []string

	key *ecdsa.PrivateKey
}

// NewPasskey returns a well-behaved passkey for the site at a URL.
func NewPasskey(t testing.TB, site string) *Passkey {
	t.Helper()
	at, err := url.Parse(site)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := make([]byte, 32)
	rand.Read(id)
	return &Passkey{Origin: site, RPID: at.Hostname(), Flags: UserPresent | UserVerified, ID: id, key: key}
}

// options holds the parts of the server's options that the tests read.
type options struct {
	PublicKey struct {
		Challenge string `json:"challenge"`
		User      struct {
			ID string `json:"id"`
		} `json:"user"`
	} `json:"publicKey"`
}

// Create answers the options of navigator.credentials.create.
func (p *Passkey) Create(t testing.TB, asked string) json.RawMessage {
	t.Helper()
	clientData, o := p.clientData(t, "webauthn.create", asked)
	handle, err := base64.RawURLEncoding.DecodeString(o.PublicKey.User.ID)
	if err != nil {
		t.Fatal(err)
	}
	p.UserHandle = handle
	point, err := p.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	data := p.authenticatorData(attested)
	data = append(data, make([]byte, 16)...) // the model of the authenticator
	data = binary.BigEndian.AppendUint16(data, uint16(len(p.ID)))
	data = append(data, p.ID...)
	// COSE: {1: 2 (EC2), 3: -7 (ES256), -1: 1 (P-256), -2: x, -3: y}
	data = slices.Concat(data, []byte{0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32}, point[1:33], []byte{0x22, 0x58, 32}, point[33:])
	// CBOR: {"fmt": "none", "attStmt": {}, "authData": data}
	object := slices.Concat([]byte("\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x59"),
		binary.BigEndian.AppendUint16(nil, uint16(len(data))), data)
	return p.credential(t, map[string]any{
		"clientDataJSON": encode(clientData), "attestationObject": encode(object), "transports": p.Transports,
	})
}

// Get answers the options of navigator.credentials.get.
func (p *Passkey) Get(t testing.TB, asked string) json.RawMessage {
	t.Helper()
	clientData, _ := p.clientData(t, "webauthn.get", asked)
	p.Count++
	data := p.authenticatorData(0)
	hash := sha256.Sum256(clientData)
	signed := sha256.Sum256(append(slices.Clone(data), hash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, p.key, signed[:])
	if err != nil {
		t.Fatal(err)
	}
	return p.credential(t, map[string]any{
		"clientDataJSON": encode(clientData), "authenticatorData": encode(data), "signature": encode(signature),
		"userHandle": encode(p.UserHandle),
	})
}

func (p *Passkey) clientData(t testing.TB, kind, asked string) ([]byte, options) {
	t.Helper()
	var o options
	if err := json.Unmarshal([]byte(asked), &o); err != nil || o.PublicKey.Challenge == "" {
		t.Fatalf("no options: %s", asked)
	}
	challenge := o.PublicKey.Challenge
	if p.Challenge != "" {
		challenge = p.Challenge
	}
	if p.Type != "" {
		kind = p.Type
	}
	data, err := json.Marshal(map[string]any{"type": kind, "challenge": challenge, "origin": p.Origin, "crossOrigin": false})
	if err != nil {
		t.Fatal(err)
	}
	return data, o
}

func (p *Passkey) authenticatorData(flags byte) []byte {
	site := sha256.Sum256([]byte(p.RPID))
	return binary.BigEndian.AppendUint32(append(site[:], p.Flags|flags), p.Count)
}

func (p *Passkey) credential(t testing.TB, response map[string]any) json.RawMessage {
	t.Helper()
	text, err := json.Marshal(map[string]any{"id": encode(p.ID), "rawId": encode(p.ID), "type": "public-key", "response": response})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func encode(data []byte) string { return base64.RawURLEncoding.EncodeToString(data) }
