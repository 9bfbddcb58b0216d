package series

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kenshin/calc"
	"kenshin/edge/wire"
)

// edit changes a file behind the package's back, as a failing disk does.
func edit(t *testing.T, path, query string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err == nil {
		_, err = db.Exec(query)
	}
	if err = errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
}

// settledFile is a file with two closings of a register and a state.
func settledFile(t *testing.T) string {
	path := temp(t)
	db := open(t, path)
	u := Update{Cursor: 7, State: []byte(`{"done":{"site-1":[[1,9]]}}`), Closings: map[string]Closings{"site-1/inv-1/ActWh": {From: date("2020-06-16"), List: []calc.Closing{
		{Rules: calc.RulesVersion, Day: date("2020-06-16")}, {Rules: calc.RulesVersion, Day: date("2020-06-17")}}}}}
	u.Samples = append(u.Samples, sample("ActWh", 1_592_265_600_000, 9, "7"))
	if _, err := db.Apply(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	if err := db.Merge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// A closing or a cursor that is not what was written is refused, with the row
// and the remedy: the totals of a period come from them alone.
func TestDamagedRowsAreRefused(t *testing.T) {
	for _, tt := range []struct{ name, query, want string }{
		{"digit of a closing", `UPDATE closings SET closing = replace(closing, '"2020-06-17"', '"2020-06-15"') WHERE day = 20200617`, `closing of "site-1/inv-1/ActWh" on 20200617`},
		{"day of a closing", `UPDATE closings SET day = 20200619 WHERE day = 20200617`, `closing of "site-1/inv-1/ActWh" on 20200619`},
		{"register of a closing", `UPDATE closings SET register = 'site-1/inv-1/ActWj' WHERE day = 20200617`, `closing of "site-1/inv-1/ActWj" on 20200617`},
		{"cursor", `UPDATE settled SET cursor = 3`, "row of settled with cursor 3"},
		{"newest row", `UPDATE newest SET rows = CAST(substr(rows, 1, length(rows) - 1) || x'02' AS BLOB)`, "row 0 of newest"},
		{"group of newest rows", `UPDATE newest SET id = 1`, "row 1 of newest"},
		{"state", `UPDATE settled SET state = CAST(replace(CAST(state AS TEXT), '9', '8') AS BLOB)`, "row of settled with cursor 7"},
	} {
		path := settledFile(t)
		edit(t, path, tt.query)
		db, err := Open(path)
		if err == nil {
			_, _, err = db.Cursor(t.Context())
			db.Close()
		}
		if !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "kenshin-collector rebuild") {
			t.Errorf("%s: %v; want the file, %q and the remedy", tt.name, err, tt.want)
		}
	}
	path := settledFile(t)
	db := open(t, path)
	edit(t, path, `UPDATE closings SET closing = replace(closing, '"2020-06-17"', '"2020-06-15"') WHERE day = 20200617`)
	if _, err := db.Closings(t.Context(), "site-1/inv-1/ActWh"); !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), "20200617") {
		t.Errorf("damaged while the file is open: %v", err)
	}
}

// The sums of rows are part of the format.
func TestGoldenRows(t *testing.T) {
	got := fmt.Sprintf("closings\tsite-1/inv-1/ActWh\t20200617\t{\"day\":\"2020-06-17\"}\t%d\nsettled\t7\t{\"done\":{}}\t%d\nsettled\t0\t\t%d\n",
		closingCRC("site-1/inv-1/ActWh", 20200617, []byte(`{"day":"2020-06-17"}`)), settledCRC(7, []byte(`{"done":{}}`)), settledCRC(0, nil))
	cells := []cell{{code: code(classInt, -3), num: 70_001}, {code: classBad | uint16(wire.NoAnswer)<<3, text: "no answer"}}
	rows := appendRow(appendRow(nil, 600, 2, 18, 1_589_500_800_000, cells, false), 600, 2, 19, 1_589_500_860_000, cells, true)
	got += fmt.Sprintf("tail or newest\t%x\t%d\n", rows, tailCRC(rows))
	file := filepath.Join("testdata", "rows.golden")
	if *updateGolden {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("rows\n%swant\n%s", got, want)
	}
}
