package main

import (
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/shopspring/decimal"
	"go.uber.org/zap"

	"kenshin/collector"
)

// parquetRows writes a table as Parquet. Numbers are DECIMAL(38, 18); one that does
// not fit stands in the column of the same name with _text instead, to its last
// digit, and the number is null. Times are TIMESTAMP in ms UTC.
type parquetRows struct {
	w       io.Writer
	columns []parquetColumn
	file    *parquet.Writer
	row     parquet.Row
	n       int
	err     error
}

type parquetColumn struct {
	name string
	kind string // text, time, bool, number
}

const (
	groupRows  = 50_000 // of a row group, the most that is held in memory
	digits     = 38
	fraction   = 18
	decimalLen = 16 // bytes
)

func columnOf(name string) parquetColumn {
	switch {
	case name == "time":
		return parquetColumn{name, "time"}
	case name == "imported", name == "without_reading":
		return parquetColumn{name, "bool"}
	case name == "value", strings.HasPrefix(name, "measured"):
		return parquetColumn{name, "number"}
	}
	return parquetColumn{name, "text"}
}

// Write takes the head line first.
func (p *parquetRows) Write(row []string) error {
	if p.err == nil && p.file == nil {
		p.head(row)
	} else if p.err == nil {
		p.err = p.write(row)
	}
	return p.err
}

func (p *parquetRows) head(row []string) {
	var fields []reflect.StructField
	field := func(name, tag string, t reflect.Type) {
		fields = append(fields, reflect.StructField{Name: fmt.Sprintf("C%d", len(fields)), Type: t, Tag: reflect.StructTag(fmt.Sprintf(`parquet:"%s,%s"`, name, tag))})
	}
	for _, name := range row {
		c := columnOf(name)
		p.columns = append(p.columns, c)
		switch c.kind {
		case "time":
			field(name, "timestamp(millisecond),delta,zstd", reflect.TypeFor[int64]())
		case "bool":
			field(name, "zstd", reflect.TypeFor[bool]())
		case "number":
			field(name, fmt.Sprintf("decimal(%d:%d),zstd", fraction, digits), reflect.TypeFor[*[decimalLen]byte]())
			field(name+"_text", "optional,zstd", reflect.TypeFor[string]())
		default:
			field(name, "dict,zstd", reflect.TypeFor[string]())
		}
	}
	schema := parquet.SchemaOf(reflect.New(reflect.StructOf(fields)).Interface())
	p.file = parquet.NewWriter(p.w, schema, parquet.CreatedBy("kenshin-collector", version, ""))
}

func (p *parquetRows) write(row []string) error {
	p.row = p.row[:0]
	add := func(v parquet.Value, optional bool) {
		level := 0
		if optional && !v.IsNull() {
			level = 1
		}
		p.row = append(p.row, v.Level(0, level, len(p.row)))
	}
	for i, c := range p.columns {
		switch c.kind {
		case "time":
			t, err := time.Parse(time.RFC3339, row[i])
			if err != nil {
				return err
			}
			add(parquet.Int64Value(t.UnixMilli()), false)
		case "bool":
			add(parquet.BooleanValue(row[i] == "true"), false)
		case "number":
			if b, ok := decimalBytes(row[i]); ok {
				add(parquet.FixedLenByteArrayValue(b), true)
				add(parquet.NullValue(), true)
			} else {
				add(parquet.NullValue(), true)
				v := parquet.NullValue()
				if row[i] != "" {
					v = parquet.ByteArrayValue([]byte(row[i]))
				}
				add(v, true)
			}
		default:
			add(parquet.ByteArrayValue([]byte(row[i])), false)
		}
	}
	if _, err := p.file.WriteRows([]parquet.Row{p.row}); err != nil {
		return err
	}
	if p.n++; p.n%groupRows == 0 {
		return p.file.Flush()
	}
	return nil
}

// decimalBytes returns a number as DECIMAL(38, 18) stores it: two's complement,
// most significant byte first. It reports false for what is none or does not fit.
func decimalBytes(text string) ([]byte, bool) {
	d, err := decimal.NewFromString(text)
	if err != nil || d.Exponent() > digits || d.Exponent() < -400 {
		return nil, false
	}
	shifted := d.Shift(fraction)
	if !shifted.IsInteger() {
		return nil, false
	}
	n := shifted.BigInt()
	if n.CmpAbs(tooLarge) >= 0 {
		return nil, false
	}
	b := make([]byte, decimalLen)
	if n.Sign() < 0 {
		n.Add(n, new(big.Int).Lsh(big.NewInt(1), 8*decimalLen))
	}
	return n.FillBytes(b), true
}

var tooLarge = new(big.Int).Exp(big.NewInt(10), big.NewInt(digits), nil)

// Flush ends the file; only then it can be read.
func (p *parquetRows) Flush() {
	if p.err == nil && p.file != nil {
		p.err = p.file.Close()
	}
}

func (p *parquetRows) Error() error { return p.err }

// exportHandler answers with a table of a project's period, row by row as it is read:
// ?what=samples|days|totals&format=csv|parquet&meter=KEY.
func exportHandler(col *collector.Collector, log *zap.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		or := func(key, other string) string {
			if v := q.Get(key); v != "" {
				return v
			}
			return other
		}
		f := exportFlags{What: or("what", "samples"), Format: or("format", "csv"), Project: r.PathValue("project"), Meter: q.Get("meter")}
		var err error
		if f.Period, err = strconv.Atoi(r.PathValue("period")); err != nil {
			http.Error(w, "period: want a number, counted from 1", http.StatusBadRequest)
			return
		}
		if !slices.Contains([]string{"samples", "days", "totals"}, f.What) || !slices.Contains([]string{"csv", "parquet"}, f.Format) {
			http.Error(w, "want what=samples, days or totals and format=csv or parquet", http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", map[string]string{"csv": "text/csv; charset=utf-8", "parquet": "application/vnd.apache.parquet"}[f.Format])
		w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s-%d.%s"`, f.What, f.Period, f.Format))
		to := &began{ResponseWriter: w}
		switch err := f.write(r.Context(), col, to, func(int) {}); {
		case err == nil:
		case to.began:
			log.Warn("export", zap.Error(err))
			panic(http.ErrAbortHandler) // what was sent is no whole file, and the client shall see it
		case errors.Is(err, collector.ErrUnknown):
			w.Header().Del("Content-Disposition")
			http.Error(w, err.Error(), http.StatusNotFound)
		default:
			log.Error("export", zap.Error(err))
			w.Header().Del("Content-Disposition")
			http.Error(w, "the export failed; the collector's log says why", http.StatusInternalServerError)
		}
	})
}

// began knows whether something of an answer was sent.
type began struct {
	http.ResponseWriter
	began bool
}

func (b *began) Write(p []byte) (int, error) {
	b.began = true
	return b.ResponseWriter.Write(p)
}
