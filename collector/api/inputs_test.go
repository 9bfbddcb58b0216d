package api

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"

	"kenshin/calc"
)

func (f *fake) Enter(project, id string, x *calc.Input, who, why string) error {
	if f.fail == "enter" {
		return errors.New("input w-1: the project expects none for parameter WA")
	}
	if x == nil {
		if project != "pv-1" || id != "w-1" || who != "K. Sato" || why != "typed twice" {
			return errors.New("handed on wrongly")
		}
		f.entered = nil
		return nil
	}
	if project != "pv-1" || id != x.ID || who != x.Who || why == "" {
		return errors.New("handed on wrongly")
	}
	f.entered = append(f.entered, *x)
	return nil
}

// TestInputs: an amount comes in with the token for that alone, as it was sent, or
// nothing does and the answer says what is wrong.
func TestInputs(t *testing.T) {
	const good = `{"parameter":"WA","from":"2020-05-15","to":"2020-05-31","value":"12.50","unit":"t","document":"list 7","evidence":"5b","who":"K. Sato"}`
	put := func(f *fake, token, given, path, text string) *httptest.ResponseRecorder {
		h, err := New(Config{Figures: f, Charts: f, Deliveries: f, Book: f, Inputs: f, Token: "read", InputToken: token, Metrics: http.NotFoundHandler(), Broker: func() error { return nil }, Log: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodPut, path, strings.NewReader(text))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+given)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	const path = "/api/v1/projects/pv-1/inputs/w-1"
	for _, tt := range []struct {
		name, token, given, path, text, fail string
		status                               int
		want                                 string
	}{
		{"good", "write", "write", path, good, "", 200, "in the book"},
		{"the token for reading", "write", "read", path, good, "", 401, ""},
		{"no token", "write", "", path, good, "", 401, ""},
		{"not switched on", "", "read", path, good, "", 404, "there is no"},
		{"another project", "write", "write", "/api/v1/projects/zz/inputs/w-1", good, "", 404, "there is pv-1"},
		{"refused by the project", "write", "write", path, good, "enter", 422, "the project expects none"},
		{"a number", "write", "write", path, strings.Replace(good, `"12.50"`, "12.5", 1), "", 422, "string"},
		{"no number", "write", "write", path, strings.Replace(good, "12.50", "a dozen", 1), "", 422, "want a decimal"},
		{"no day", "write", "write", path, strings.Replace(good, "2020-05-31", "2020-06-31", 1), "", 422, ""},
		{"misspelt", "write", "write", path, strings.Replace(good, "document", "dokument", 1), "", 422, "document"},
		{"no JSON", "write", "write", path, "value=12", "", 400, ""},
		{"another path", "write", "write", "/api/v1/projects/pv-1", good, "", 405, ""},
	} {
		f := newFake()
		f.fail = tt.fail
		w := put(f, tt.token, tt.given, tt.path, tt.text)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) || (len(f.entered) == 1) != (tt.status == 200) {
			t.Errorf("%s: %d, %d entered: %s", tt.name, w.Code, len(f.entered), w.Body)
		}
		if tt.status == 200 && (f.entered[0].Value.String() != "12.5" || f.entered[0].To != date("2020-05-31") || f.entered[0].Document != "list 7") {
			t.Errorf("%s: entered %+v", tt.name, f.entered[0])
		}
	}
	f := newFake()
	h, err := New(Config{Figures: f, Charts: f, Deliveries: f, Book: f, Inputs: f, InputToken: "write", Metrics: http.NotFoundHandler(), Broker: func() error { return f.away }, Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	if w := get(h, "/openapi.json"); !strings.Contains(w.Body.String(), `"security":[{"input":[]}]`) {
		t.Error("the description does not say which token an input needs")
	}
	f.away = errors.New("broker tcp://b:1883 is not reached")
	if w := get(h, "/readyz"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "is not reached") {
		t.Errorf("/readyz while the broker is away: %d %s", w.Code, w.Body)
	}
	f.away, f.stalled = nil, errors.New("figures stand still since noon")
	if w := get(h, "/readyz"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "since noon") {
		t.Errorf("/readyz while figures stand still: %d %s", w.Code, w.Body)
	}
	if w := get(h, "/healthz"); w.Code != http.StatusOK {
		t.Errorf("/healthz meanwhile: %d", w.Code)
	}
}

// TestWithdrawInput: an amount goes out of force with the same token, and only with the
// name of a person and a reason.
func TestWithdrawInput(t *testing.T) {
	for _, tt := range []struct {
		name, given, query, fail string
		status                   int
		want                     string
	}{
		{"good", "write", "?who=K.+Sato&why=typed+twice", "", 200, "withdrawn"},
		{"the token for reading", "read", "?who=K.+Sato&why=typed+twice", "", 401, ""},
		{"no token", "", "?who=K.+Sato&why=typed+twice", "", 401, ""},
		{"nobody", "write", "?why=typed+twice", "", 422, "who"},
		{"no reason", "write", "?who=K.+Sato&why=", "", 422, "why"},
		{"refused", "write", "?who=K.+Sato&why=typed+twice", "enter", 422, "input w-1"},
	} {
		f := newFake()
		f.fail, f.entered = tt.fail, []calc.Input{{ID: "w-1"}}
		h, err := New(Config{Figures: f, Charts: f, Deliveries: f, Book: f, Inputs: f, Token: "read", InputToken: "write", Metrics: http.NotFoundHandler(), Broker: func() error { return nil }, Log: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodDelete, "/api/v1/projects/pv-1/inputs/w-1"+tt.query, nil)
		r.Header.Set("Authorization", "Bearer "+tt.given)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) || (len(f.entered) == 0) != (tt.status == 200) {
			t.Errorf("%s: %d, %d left: %s", tt.name, w.Code, len(f.entered), w.Body)
		}
	}
}
