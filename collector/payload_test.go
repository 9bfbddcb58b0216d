package collector

import (
	"bytes"
	"flag"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/calc"
	"kenshin/collector/store"
)

var update = flag.Bool("update", false, "write golden files anew; look at what changed")

// TestPayloadsGolden holds what people put into the book, as store/FORMAT.md describes it:
// a figure of today must come out of these bytes in ten years.
func TestPayloadsGolden(t *testing.T) {
	r, b := sealed(t)
	r.cfg.Projects[0].Text = append(r.cfg.Projects[0].Text, "allocation: [{name: Japan, percent: 50}, {name: Host, percent: 50}]\ninputs: [{parameter: EG, unit: two, option: C, role: check}]\n"...)
	r.reopen()
	first := r.store.Size()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		r.catchUp()
	}
	at := func(ms int64) calc.Instant { return calc.Instant{Time: time.UnixMilli(start + ms).UTC()} }
	dec := func(text string) *decimal.Decimal { d := decimal.RequireFromString(text); return &d }
	hash := "5be2aa8ec1bda821de239f11caa5e71888df421fa4dd29987281a29d15c44977"
	must(r.Import(t.Context(), ImportInfo{Project: "plant", Meter: "one", Unit: "kWh", Zone: "Asia/Kolkata", Who: "K. Sato", Why: "logger <old> & 検針", File: "old.csv", SHA256: hash},
		[]ImportRow{{At: start - 3_600_000, Value: dec("10.50")}, {At: start - 1_800_000}, {At: start - 1, Value: dec("12")}}, func(int) {}))
	must(r.Rule("plant", "r-1", &calc.Ruling{Meter: "one", Cause: calc.CauseReplacement, From: at(day), FinalKWh: dec("1012.5"), InitialKWh: dec("0"), Evidence: hash, Who: "K. Sato", Why: "protocol 7"}, "K. Sato", "protocol 7"))
	must(r.Rule("plant", "r-2", &calc.Ruling{Meter: "two", Cause: calc.CauseDip, From: at(-day), To: at(-day + 5), Who: "K. Sato", Why: "port was tested"}, "K. Sato", "port was tested"))
	must(r.Enter("plant", "i-1", &calc.Input{ID: "i-1", Parameter: "EG", UnitName: "two", From: calc.Date{Year: 2020, Month: 5, Day: 15}, To: calc.Date{Year: 2020, Month: 5, Day: 20},
		Value: *dec("10.25"), Unit: "MWh", Document: "invoice 4711", Evidence: hash, Who: "K. Sato"}, "K. Sato", "invoice 4711"))
	must(r.Divide("plant", "s-1", &calc.Split{Period: calc.Span{Start: calc.Date{Year: 2020, Month: 5, Day: 15}, End: calc.Date{Year: 2020, Month: 5, Day: 20}}, Vintage: 2020,
		Accounts: map[string]int64{"Japan": 3, "Host": 2}, Who: "both sides"}, "both sides", "decision 3"))
	must(r.Rule("plant", "r-2", nil, "K. Sato", "it was the other port"))
	_, err := r.Seal("plant", 0, "K. Sato", "to the verifier")
	must(err)
	b.read(meter("m-1"), 5*day, 1_200_000)
	r.send(b.batch(t, uint64(len(b.recs)), uint64(len(b.recs))))
	r.catchUp()
	_, err = r.Seal("plant", 0, "K. Sato", "a reading came late")
	must(err)
	var got bytes.Buffer
	must(r.store.Scan(first, func(x *store.Record) error {
		if x.Kind == store.Decision || x.Kind == store.Import {
			got.Write(x.Payload)
			got.WriteByte('\n')
		}
		return nil
	}))
	// Hashes of everything there is change with anything.
	text := regexp.MustCompile(`(\\"report_sha256\\":\\"|records\\":\d+,\\"checkpoint\\":\\")[^"]*\\"`).ReplaceAll(got.Bytes(), []byte(`$1...\"`))
	const file = "testdata/payloads.golden"
	if *update {
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(text, want) {
		t.Errorf("%s: got\n%s\nwant\n%s\nif the change is meant, write it into store/FORMAT.md and: go test ./collector -run PayloadsGolden -update", file, text, want)
	}
	// And the other way: a book of these bytes gives the same figures.
	rep, err := r.Report(t.Context(), "plant", 0)
	must(err)
	again, err := Recompute(t.Context(), r.store, "plant", 0)
	must(err)
	x, err := rep.SHA256()
	must(err)
	if y, err := again.SHA256(); err != nil || x != y {
		t.Errorf("settled %s, from the book %s, %v", x, y, err)
	}
}
