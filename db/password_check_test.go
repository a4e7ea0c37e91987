package db_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/ccojocar/zxcvbn-go/frequency"

	"porchlight/db"
)

// This file tests which new passwords are refused as easy to guess, and that checking them does not keep sign-ins waiting.

func TestLongPasswordsThatAreEasyToGuessAreRefused(t *testing.T) {
	t.Parallel()
	h := openHouse(t)
	for reason, passwords := range map[string][]string{
		"keyboard": {
			"1qaz2wsx3edc4rfv5tgb", "1q2w3e4r5t6y7u8i9o0p", "p0o9i8u7y6t5r4e3w2q1", "!QAZ@WSX#EDC$RFV", "!!1qaz2wsx3edc4rfv2024",
			"qazwsxedcrfvtgbyhn", "zaq12wsxcde34rfv", "1a2s3d4f5g6h7j8k", "qpwoeirutyalskdjfhg", "ytrewqasdfghbvcxz", "qwe123asd456zxc789",
			"qwertzuiopasdfghjkl", "yxcvbnmasdfghjkl", "azertyuiopqsdfghjklm", "aoeuidhtnsaoeuid",
			"1й2ц3у4к5е6н7г8ш", "ячсмитьбюфывапролд", "ασδφγηξκλζχψωβνμ", "שדגכעיחלךזסבהנמ",
			"абвгдежзийклмноп", "abcdefghijklmnop2024",
			"q1w2e3r4t5!Q1w2e3", "一二三四五六七八九十一二三四五", "あいうえおかきくけこさしすせそ",
			"가나다라마바사아자차카타파하1",
		},
		"repeats": {
			"йцукенйцукенйцукен", "ytrewqytrewqytrewq", "ааааааааааааааааа", "aaaabbbbccccdddd",
			"паролпаролпарол",
			"парол парол парол 1", "любовь-любовь-любовь", "愛愛愛愛愛愛愛愛愛愛愛愛愛愛愛愛",
			"كلمةكلمةكلمةكلمة", "Ab1!Ab1!Ab1!Ab1!",
			"🦉🦉🦉🦉🦉🦉🦉🦉🦉🦉🦉🦉🦉🦉🦉",
			"contraseñacontraseña", "пассвордпассворд", "Wasserfall Wasserfall 7", "Xk9qz27Wp!Xk9qz27Wp!", "ördekgölüördekgö",
		},
		"well-known phrase": {
			"correct horse battery staple", "correcthorsebatterystaple", "CorrectHorseBatteryStaple1",
			"Correct-Horse-Battery-Staple!", "c0rrect h0rse b@ttery st@ple",
			"elpats yrettab esroh tcerroc", "horse battery staple", "to be or not to be", "May the Force be with you!",
			"Съешь ещё этих мягких французских булок", "thequickbrownfox123",
			"contraseña123456", "motdepasse123456", "Motdepasse2024!!",
		},
		"common": {
			"passwordpassword1", "drowssapdrowssap1", "password password password", "P@ssw0rdP@ssw0rd!", "password2024password",
			"liverpoolliverpool1987", "nataliyanataliya",
			"drowssap nogard yeknom", "Winter2023!Winter2023!", "welcome123welcome123", "manchesterunited1", "passwordstandard",
			"p a s s w o r d 1 2 3", "l-e-t-m-e-i-n-1-2-3", "lhbjkjubz2957704", "Nemvxyheqdd5oqxyxyzi!", "23176djivanfros", "1adgjmptw1adgjmptw",
		},
	} {
		for _, password := range passwords {
			invalid := h.wantInvalid(db.NewUser{Username: "bartholomew", Password: password})
			if len(invalid) != 1 || !strings.Contains(invalid["password"], reason) {
				t.Errorf("%q: %q, want a reason with %q", password, invalid["password"], reason)
			}
		}
	}
}

// Good passwords may happen to contain what the rules look for: "were" is a keyboard walk, and "mama" is a repeat.
func TestPasswordsThatAreHardToGuessAreAccepted(t *testing.T) {
	t.Parallel()
	passwords := []string{
		"We went to the lake on a rainy Tuesday", "Der Hund schläft heute lieber auf dem Sofa", "Le chat de ma voisine dort sur le toit",
		"El perro de mi vecino ladra por la noche", "Il treno per Bologna parte sempre tardi",
		"Pies mojej sąsiadki lubi jeść marchewki", "Мы поехали на дачу в прошлую субботу",
		"犬は毎晩窓の外を見て静かに待っている", "Jag åt tre bananer till frukost igår", "We were as free as reeds in a pool",
		"9$qwe!kz#84&m+2", "mama papa tortilla bonbon",
		"correct mule kettle walnut", "qwerty lantern orbit marmalade", "4711 lantern velvet 0815 orbit",
		"to be a lantern or to be a thimble",
	}
	source := rand.New(rand.NewPCG(15, 256))
	words := frequency.Lists["English"].List
	for range 50 {
		phrase := []string{}
		for len(phrase) < 4 {
			if word := words[source.IntN(len(words))]; len(word) >= 4 {
				phrase = append(phrase, word)
			}
		}
		passwords = append(passwords, strings.Join(phrase, " "))
	}
	const latin = "abcdefghijklmnopqrstuvwxyz"
	for _, alphabet := range []string{latin, latin + "0123456789", oneByte + "!#$%&()*+,-./:;<=>?@[]^_{|}~",
		"абвгдежзийклмнопрстуфхцчшщъыьэюя"} {
		letters := []rune(alphabet)
		for range 25 {
			password := make([]rune, 15)
			for i := range password {
				password[i] = letters[source.IntN(len(letters))]
			}
			passwords = append(passwords, string(password))
		}
	}
	h := openHouse(t)
	for i, password := range passwords {
		if invalid := h.wantInvalid(db.NewUser{Username: fmt.Sprintf("user%d", i), Password: password}); len(invalid) != 0 {
			t.Errorf("%q: %v", password, invalid)
		}
	}
}

// Anybody can send crafted passwords to /signup that take long to check. That must not slow down sign-ins.
func TestCheckingNewPasswordsDoesNotDelaySignIns(t *testing.T) {
	t.Parallel()
	c := openCast(t)
	var all sync.WaitGroup
	done := make(chan struct{})
	for range db.CheckingInAll {
		all.Go(func() {
			if err := c.CheckPassword(c.ctx(), func() { <-done }); err != nil {
				t.Error("within the queue:", err)
			}
		})
	}
	defer all.Wait()
	defer close(done)
	for c.Checking() < db.CheckingInAll {
		runtime.Gosched()
	}
	ctx, cancel := context.WithCancel(c.ctx())
	cancel() // so that work fails instead of waiting
	if _, err := c.CreateUser(ctx, db.NewUser{Username: "carol", Password: newPassword}); !errors.Is(err, db.ErrBusy) {
		t.Error("a new account, beyond the queue:", err)
	}
	if _, err := c.Authenticate(c.ctx(), "alice", alicePassword, clientOf("192.0.2.1", "curl")); err != nil {
		t.Error("sign in:", err)
	}
	if c.Hashing() != 0 {
		t.Errorf("%d wait for the hasher", c.Hashing())
	}
}

func BenchmarkCheckPassword(b *testing.B) {
	for name, password := range map[string]string{
		"phrase": newPassword,
		"signs":  "582ed8!5[g@6x{iagcs![o8[ss+736|$@|4+9!p[s904{+xt!(+[8(e8a%o+[8+c81o{%9g!e%#3+([xdao(7&32@x5s{%gx$441",
		"dates":  strings.Repeat("11/11/1911 ", 23) + "x",
		"walks":  strings.Repeat("qwerty1990", 25) + "x",
		"words":  strings.Repeat("thatthisisthemanor", 14),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				db.Weakness(password)
			}
		})
	}
}
