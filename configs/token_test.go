package configs

import "testing"

func TestToken(t *testing.T) {
	for _, want := range []Token{{"site-1", "secret", nil}, {"site-1", "secret", make([]byte, 32)}} {
		got, err := ParseToken(" " + want.String() + "\n")
		if err != nil || got.String() != want.String() || (got.Pin == nil) != (want.Pin == nil) {
			t.Errorf("%s reads as %+v, %v", want, got, err)
		}
	}
	whole := Token{"site-1", "secret", make([]byte, 32)}.String()
	// A pin that is cut short must not become a token without one.
	for _, text := range []string{"", ".", "a.b", "..", ".secret.", "site-1..", whole[:len(whole)-1], whole + "A", whole + ".x", "site-1.secret.!"} {
		if got, err := ParseToken(text); err == nil {
			t.Errorf("%q reads as %+v", text, got)
		}
	}
}
