package collector

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"kenshin/calc"
	"kenshin/collector/series"
	"kenshin/collector/store"
	"kenshin/edge/wire"
)

// importFile is the payload of a store.Import record: rows of a file that an
// operator brought in. A file of many rows makes several records.
type importFile struct {
	Version  int         `json:"version"`
	Register string      `json:"register"` // edge/device/point
	Unit     string      `json:"unit"`
	Who      string      `json:"who"`
	Why      string      `json:"why"`
	File     string      `json:"file"`   // its name
	SHA256   string      `json:"sha256"` // of the file as it was given, in hexadecimal
	Zone     string      `json:"zone,omitempty"`
	ID       string      `json:"id"`    // SHA-256 of register, unit and all rows, in hexadecimal
	First    uint64      `json:"first"` // row of Rows[0], from 1
	Rows     []ImportRow `json:"rows"`
}

// ImportRow is one reading of a file.
type ImportRow struct {
	At    int64            `json:"at"`              // ms UTC
	Value *decimal.Decimal `json:"value,omitempty"` // nil when the file says that there is none
	Line  int              `json:"-"`               // of the file, from 1; 0 when it is of none
}

const (
	importVersion = 1
	importRows    = 20_000 // of one record
)

// importEpoch marks samples that an operator brought in: they come from no edge.
var importEpoch = [8]byte{'i', 'm', 'p', 'o', 'r', 't', 'e', 'd'}

func isImport(e wire.Epoch) bool { return [8]byte(e[:8]) == importEpoch }

// epoch is the same for the same rows, so that they count once.
func (f *importFile) epoch() wire.Epoch {
	e := wire.Epoch{}
	copy(e[:], importEpoch[:])
	copy(e[len(importEpoch):], f.ID)
	return e
}

// importID names rows for what they are.
func importID(register, unit string, rows []ImportRow) (string, error) {
	h := sha256.New()
	if err := json.NewEncoder(h).Encode([]any{register, unit, rows}); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// samples turns rows into samples of the register.
func (f *importFile) samples() []wire.Sample {
	edge, rest, _ := strings.Cut(f.Register, "/")
	device, point, _ := strings.Cut(rest, "/")
	out := make([]wire.Sample, len(f.Rows))
	for i, r := range f.Rows {
		out[i] = wire.Sample{Edge: edge, Device: device, Point: point, Unit: f.Unit, Kind: wire.Counter, At: r.At, Epoch: f.epoch(), Seq: f.First + uint64(i)}
		if r.Value == nil {
			out[i].Quality, out[i].Reason = wire.NotAvailable, "no value in "+f.File
		} else {
			out[i].Number = *r.Value
		}
	}
	return out
}

func decodeImport(r *store.Record) (*importFile, error) {
	var f importFile
	if err := json.Unmarshal(r.Payload, &f); err != nil {
		return nil, fmt.Errorf("import in record %d: %w", r.Index, err)
	}
	if f.Version != importVersion {
		return nil, fmt.Errorf("import in record %d: version %d, this program reads %d", r.Index, f.Version, importVersion)
	}
	return &f, nil
}

// imported settles rows of a file.
func (s *settle) imported(r *store.Record, u *series.Update) error {
	f, err := decodeImport(r)
	if err != nil {
		return err
	}
	key := "import/" + f.epoch().String()
	for _, x := range f.samples() {
		done, isNew := include(s.state.Done[key], x.Seq)
		if !isNew {
			continue
		}
		s.state.Done[key], s.marked[key] = done, true
		u.Samples = append(u.Samples, x)
		r, c := s.registers[x.Key()], reading(&x)
		if r != nil && r.spec.Heat != nil {
			c = r.spec.Heat.Power(c, calc.Sample{}, calc.Sample{}) // a file has no temperatures beside its flow
		}
		if err := s.count(r, c); err != nil {
			return err
		}
	}
	return nil
}

// ImportInfo says where rows come from.
type ImportInfo struct {
	Project, Meter string
	Unit, Zone     string
	Who, Why       string
	File, SHA256   string
}

// Import writes readings from before the agent into the book and settles them:
// they come under the same rules as all others and are marked in every report.
// progress is called with how many rows are settled. Rows of the same file that
// are in the book are not written again: an import that was cut short goes on, one
// that was not is refused. The collector must not run.
func (c *Collector) Import(ctx context.Context, info ImportInfo, rows []ImportRow, progress func(int)) error {
	p := c.ingest.rules.project(info.Project)
	if p == nil {
		return fmt.Errorf("project %q: %w", info.Project, ErrUnknown)
	}
	m := meterOf(p, info.Meter)
	switch {
	case m == nil:
		return fmt.Errorf("project %s has no meter %q: %w", info.Project, info.Meter, ErrUnknown)
	case m.Heat != nil:
		return fmt.Errorf("meter %s counts heat of a flow and two temperatures of one reading; one column of a file is none of that", info.Meter)
	case calc.Blank(info.Who) || calc.Blank(info.Why):
		return errors.New("say who brings the readings in and why")
	}
	if err := c.CheckImport(rows); err != nil {
		return err
	}
	f := importFile{Version: importVersion, Register: m.Register, Unit: info.Unit, Who: info.Who, Why: info.Why, File: info.File, SHA256: info.SHA256, Zone: info.Zone, First: 1}
	var err error
	if f.ID, err = importID(f.Register, f.Unit, rows); err != nil {
		return err
	}
	err = c.store.Scan(0, func(r *store.Record) error {
		if r.Kind == store.Import && r.Epoch == f.epoch() {
			f.First = max(f.First, r.Last+1)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if f.First > uint64(len(rows)) {
		return fmt.Errorf("these %d readings are in the book already", len(rows))
	}
	rows = rows[f.First-1:]
	for len(rows) > 0 {
		n := min(len(rows), importRows)
		f.Rows, rows = rows[:n], rows[n:]
		payload, err := marshal(&f)
		if err != nil {
			return err
		}
		rec := &store.Record{Kind: store.Import, Received: c.cfg.Clock.Now().UnixMilli(), Subject: m.Register, Epoch: f.epoch(), First: f.First, Last: f.First + uint64(n) - 1, Payload: payload}
		if _, err := c.store.Append(rec); err != nil {
			return err
		}
		if err := c.settle.catchUp(ctx); err != nil {
			return err
		}
		f.First += uint64(n)
		progress(int(f.First - 1))
	}
	return nil
}

// CheckImport reports the first reading that is dated ahead of the collector's clock.
func (c *Collector) CheckImport(rows []ImportRow) error {
	soon := c.soon()
	for i, r := range rows {
		if at := time.UnixMilli(r.At); at.After(soon) {
			line := fmt.Sprintf("reading %d", i+1)
			if r.Line > 0 {
				line = fmt.Sprintf("line %d", r.Line)
			}
			return fmt.Errorf("%s is of %s, and by the clock here it is %s: a reading of the future is none; correct --zone and --time-format, the file, or this clock", line, at.UTC().Format(time.RFC3339), c.cfg.Clock.Now().UTC().Format(time.RFC3339))
		}
	}
	return nil
}

func meterOf(p *calc.Project, key string) *calc.Meter {
	for i := range p.Meters {
		if p.Meters[i].Key == key {
			return &p.Meters[i]
		}
	}
	return nil
}
