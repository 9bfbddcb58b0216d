package device

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

//go:embed sunspec.tsv
var sunspecTable string

// entry is a point of a SunSpec model.
type entry struct {
	name   string
	offset uint16 // registers from the model's ID word
	kind   string // type as SunSpec names it
	size   uint16 // registers
	scale  string // name of the scale factor of the same model, or ""
	unit   string
}

// models gives the points of each SunSpec model of the embedded table.
var models = sync.OnceValues(func() (map[uint16][]entry, error) { return parseTable(sunspecTable) })

func parseTable(text string) (map[uint16][]entry, error) {
	out := make(map[uint16][]entry)
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) < 5 || len(f) > 7 {
			return nil, fmt.Errorf("sunspec.tsv line %d: %d columns, want 5 to 7", n, len(f))
		}
		f = append(f, "", "")
		var num [3]uint16
		for i, col := range []int{0, 2, 4} {
			v, err := strconv.ParseUint(f[col], 10, 16)
			if err != nil {
				return nil, fmt.Errorf("sunspec.tsv line %d: %w", n, err)
			}
			num[i] = uint16(v)
		}
		out[num[0]] = append(out[num[0]], entry{name: f[1], offset: num[1], kind: f[3], size: num[2], scale: f[5], unit: f[6]})
	}
	return out, nil
}

// find returns the point of that name, nil when the model has none.
func find(model []entry, name string) *entry {
	for i := range model {
		if model[i].name == name {
			return &model[i]
		}
	}
	return nil
}
