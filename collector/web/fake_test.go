package web

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/shopspring/decimal"
	"go.uber.org/zap"

	"kenshin/calc"
	"kenshin/edge/wire"
)

// fake is a collector with a plant of three inverters on its 20th day.
type fake struct {
	mu         sync.Mutex // guards the rest
	projects   []*calc.Project
	report     *calc.Report
	samples    []wire.Sample
	checkpoint string
	err        error
	stalled    error
	now        time.Time
	listeners  map[chan struct{}]bool

	source, why string // of the long chart
	days        map[string]decimal.Decimal
	drawn       int // times that the long chart was asked for
}

func (f *fake) Projects(context.Context) ([]*calc.Project, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.projects, f.err
}

func (f *fake) Recent(context.Context, string, int, calc.Date) (*calc.Report, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := *f.report
	return &r, f.err
}

func (f *fake) Days(context.Context, string, int) (source, why string, days map[string]decimal.Decimal, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.drawn++
	if f.err != nil {
		return "", "", nil, f.err
	}
	return f.source, f.why, f.days, nil
}

func (f *fake) Stalled() error { return f.stalled }

func (f *fake) Latest(context.Context) ([]wire.Sample, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]wire.Sample(nil), f.samples...), nil
}

func (f *fake) Edges(_ context.Context, fn func(string, wire.Epoch, uint64, int64)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn("demo-edge", wire.Epoch{1}, 48_211, f.now.Add(-3*time.Second).UnixMilli())
	fn("roof-2", wire.Epoch{}, 0, 0)
	return nil
}

func (f *fake) Size() uint64 { return 51_234 }

func (f *fake) LastCheckpoint() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.checkpoint
}

func (f *fake) Now() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *fake) Subscribe() (<-chan struct{}, func()) {
	ch := make(chan struct{}, 1)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listeners[ch] = true
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.listeners, ch)
	}
}

func (f *fake) listening() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.listeners)
}

// change changes what the collector knows and tells its listeners.
func (f *fake) change(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
	for ch := range f.listeners {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

func date(text string) calc.Date {
	d, err := calc.ParseDate(text)
	if err != nil {
		panic(err)
	}
	return d
}

func dec(text string) decimal.Decimal { return decimal.RequireFromString(text) }

func newFake() *fake {
	zone := time.FixedZone("ICT", 7*3600)
	f := &fake{now: time.Date(2026, 6, 20, 11, 42, 7, 0, zone), listeners: make(map[chan struct{}]bool),
		checkpoint: "kenshin/demo\n51200\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— kenshin/demo az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"}
	p := &calc.Project{
		Reference: "demo-pv", Title: "Rooftop solar, Bangkok <demo>", Country: "Thailand", Zone: "Asia/Bangkok", Status: calc.Illustration,
		Methodology: calc.Pin{Number: "JCM_TH_AM001", Version: "1.0"},
		Periods:     []calc.Span{{Start: date("2026-06-01"), End: date("2026-12-31")}, {Start: date("2027-01-01"), End: date("2027-12-31")}},
	}
	r := &calc.Report{
		Project: p.Reference, Zone: p.Zone, Methodology: p.Methodology.String(), Rules: 1, Period: p.Periods[0],
		MeasuredKWh: dec("12345.678"), ClaimableKWh: dec("11984.103"),
		Vintages: map[string]map[string]string{"2026": {"EG_MWh": "11.984103", "RE_tCO2": "6.387526899", "PE_tCO2": "0", "ER_tCO2": "6"}},
		Meters:   map[string]calc.MeterReport{},
		Deductions: []calc.Deduction{{Meter: "inv-2", Cause: calc.CauseJump, Rule: "counter rule 7", From: f.now.Add(-50 * time.Hour).UnixMilli(), To: f.now.Add(-49 * time.Hour).UnixMilli(),
			KWh: dec("361.575"), TCO2: "0.192719475", Note: "rose by 386.575 kWh, more than 25 kW makes in 1h0m0s"}},
	}
	for i := range 3 {
		key := fmt.Sprintf("inv-%d", i+1)
		p.Meters = append(p.Meters, calc.Meter{Key: key, Title: fmt.Sprintf("Inverter %d", i+1), Register: "demo-edge/" + key + "/WH", Power: "demo-edge/" + key + "/W", Parameter: "EG"})
		days := map[string]decimal.Decimal{}
		for d := date("2026-06-01"); !date("2026-06-20").Before(d); d = d.Next() {
			if d != date("2026-06-11") {
				days[d.String()] = dec("140.25").Add(decimal.New(int64(d.Day*7919%131+i), 0))
			}
		}
		days["2026-06-12"], days["2026-06-20"] = dec("0"), dec("48.5")
		r.Meters[key] = calc.MeterReport{MeasuredKWh: dec("4115.226"), ClaimableKWh: dec("3994.701"), Days: days, Unread: []string{"2026-06-12"}, Last: &calc.Standing{At: f.now, KWh: dec("104115.226")}}
		at := f.now.Add(-time.Duration(4+i) * time.Second).UnixMilli()
		f.samples = append(f.samples,
			wire.Sample{Edge: "demo-edge", Device: key, Point: "W", Unit: "W", At: at, Number: dec("18250.5"), Seq: 48_200},
			wire.Sample{Edge: "demo-edge", Device: key, Point: "WH", Unit: "Wh", Kind: wire.Counter, At: at, Number: dec("104115226"), Seq: 48_200})
	}
	p.Meters = append(p.Meters, calc.Meter{Key: "export", Title: "Export meter", Register: "demo-edge/export/kWh", Role: calc.RoleCheck})
	r.Meters["export"] = calc.MeterReport{Role: calc.RoleCheck, MeasuredKWh: dec("12301.2"), ClaimableKWh: dec("12301.2"), Days: map[string]decimal.Decimal{"2026-06-20": dec("144.9")}, Last: &calc.Standing{At: f.now, KWh: dec("12301.2")}}
	f.samples = append(f.samples, wire.Sample{Edge: "demo-edge", Device: "export", Point: "kWh", Unit: "kWh", Kind: wire.Counter, At: f.now.Add(-7 * time.Minute).UnixMilli(),
		Quality: wire.NoAnswer, Reason: "no answer within 1s", Seq: 48_190})
	f.projects = []*calc.Project{p, {Reference: "demo-chiller", Title: "Chiller", Zone: "Asia/Bangkok", Methodology: p.Methodology, Periods: p.Periods}}
	f.report = r
	return f
}

func newPage(t testing.TB, f *fake) *Page {
	t.Helper()
	p, err := New(Config{Figures: f, Charts: f, Deliveries: f, Book: f, Live: f, Now: f.Now, Version: "v1.2.3", Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

var errBroken = errors.New("disk on fire at /var/lib/secret")
