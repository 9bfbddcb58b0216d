package main

import (
	"bytes"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
	"github.com/shopspring/decimal"
)

// TestParquet writes numbers at the edge of what a column holds and reads them back
// to the last digit.
func TestParquet(t *testing.T) {
	var file bytes.Buffer
	out := &parquetRows{w: &file}
	rowOf := func(value string) []string {
		return []string{"one", "site-1/m-1/energy", "2024-05-15T05:30:00.123+05:30", value, "kWh", "good", "", "false"}
	}
	values := []string{"0", "-0.01", "18446744073709551615", "-9223372036854775808", "1.10000002384185791015625", "0.000000000000000001", "-99999999999999999999.999999999999999999",
		"100000000000000000000", "0.0000000000000000001", ""}
	if err := out.Write([]string{"meter", "register", "time", "value", "unit", "quality", "reason", "imported"}); err != nil {
		t.Fatal(err)
	}
	for _, v := range values {
		if err := out.Write(rowOf(v)); err != nil {
			t.Fatal(err)
		}
	}
	for range groupRows {
		if err := out.Write(rowOf("1")); err != nil {
			t.Fatal(err)
		}
	}
	out.Flush()
	if out.Error() != nil {
		t.Fatal(out.Error())
	}
	f, err := parquet.OpenFile(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(f.RowGroups()); n != 2 {
		t.Errorf("%d row groups of %d rows", n, f.NumRows())
	}
	for _, want := range []string{"required int64 time (TIMESTAMP(isAdjustedToUTC=true,unit=MILLIS))", "optional fixed_len_byte_array(16) value (DECIMAL(38,18))"} {
		if schema := f.Schema().String(); !strings.Contains(schema, want) {
			t.Errorf("the schema has no %s: %s", want, schema)
		}
	}
	r := f.RowGroups()[0].Rows()
	defer r.Close()
	rows := make([]parquet.Row, len(values))
	if n, err := r.ReadRows(rows); n != len(values) {
		t.Fatal(n, err)
	}
	for i, row := range rows {
		number, text := row[3], row[4]
		got := text.String()
		if !number.IsNull() {
			n := new(big.Int).SetBytes(number.ByteArray())
			if number.ByteArray()[0]&0x80 != 0 {
				n.Sub(n, new(big.Int).Lsh(big.NewInt(1), 128))
			}
			got = decimal.NewFromBigInt(n, -fraction).String()
		} else if text.IsNull() {
			got = ""
		}
		if got != values[i] {
			t.Errorf("%q came back as %q", values[i], got)
		}
		if at := fmt.Sprint(row[2].Int64()); at != "1715731200123" {
			t.Errorf("time is %s", at)
		}
	}
}
