package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"kenshin/configs"
	"kenshin/edge"
	"kenshin/edge/modbus"
	"kenshin/edge/wire"
)

type readCmd struct {
	Device string `help:"Read only the device of this id." placeholder:"ID"`
	JSON   bool   `name:"json" help:"Print JSON, one object for each device."`
}

// run reads every device once. It fails when one did not give all its values.
func (r *readCmd) run(ctx context.Context, cfg *config, w io.Writer) error {
	found, bad := 0, 0
	for i := range cfg.plan {
		b := &cfg.plan[i]
		devices := b.devices
		if r.Device != "" {
			devices = nil
			for _, d := range b.devices {
				if d.ID == r.Device {
					devices = append(devices, d)
				}
			}
		}
		if len(devices) == 0 {
			continue
		}
		found += len(devices)
		n, err := r.bus(ctx, b, devices, w)
		if err != nil {
			return err
		}
		bad += n
	}
	switch {
	case found == 0:
		return configs.Setup(fmt.Errorf("%s: there is no device %q; `kenshin-edge check-config` lists them", cfg.file, r.Device))
	case bad > 0:
		return fmt.Errorf("%s of %d did not answer all that was asked", count(bad, "device", "devices"), found)
	}
	return nil
}

// bus reads devices of a bus and returns how many did not answer all.
func (r *readCmd) bus(ctx context.Context, b *bus, devices []edge.Device, w io.Writer) (bad int, err error) {
	m, err := modbus.New(b.link)
	if err != nil {
		return 0, err
	}
	defer m.Close()
	var errs []error
	edge.Once(ctx, edge.RealClock(), &edge.Bus{Name: b.config.Name, Reader: m, Devices: devices}, func(a edge.Answer) {
		if a.Record.Reading == nil {
			return
		}
		if a.Err != nil {
			bad++
		}
		o := decode(b.config.Name, &a)
		if r.JSON {
			errs = append(errs, json.NewEncoder(w).Encode(o))
		} else {
			errs = append(errs, o.print(w))
		}
	})
	if ctx.Err() != nil {
		return bad, context.Cause(ctx)
	}
	return bad, errors.Join(errs...)
}

// observed is a reading of a device, decoded.
type observed struct {
	Device       string    `json:"device"`
	Bus          string    `json:"bus,omitempty"`
	Unit         uint8     `json:"unit"`
	At           time.Time `json:"at"`
	Clock        string    `json:"clock"`
	Profile      string    `json:"profile"`
	Manufacturer string    `json:"manufacturer,omitempty"`
	Model        string    `json:"model,omitempty"`
	Firmware     string    `json:"firmware,omitempty"`
	Serial       string    `json:"serial,omitempty"`
	Energy       string    `json:"energy,omitempty"` // the point that counts its energy
	Declaration  wire.Hash `json:"declaration"`
	Error        string    `json:"error,omitempty"` // of the first request that failed
	Values       []value   `json:"values"`
}

// value is one point of a reading.
type value struct {
	Point   string `json:"point"`
	Value   string `json:"value,omitempty"` // exact; "" when it is not good
	Unit    string `json:"unit,omitempty"`
	Quality string `json:"quality"`
	Reason  string `json:"reason,omitempty"`
	Raw     string `json:"raw,omitempty"`   // register words, in hexadecimal
	Scale   string `json:"scale,omitempty"` // word of the scale factor register, in hexadecimal

	shown string // Value for people: as many digits as a float has
	mark  bool   // a mark of a SunSpec map, no value of the device
}

var clockNames = [...]string{wire.ClockUnknown: "unknown", wire.ClockSynced: "synced", wire.ClockHoldover: "holdover", wire.ClockUnsynced: "unsynced"}

// decode says what the words of an answer mean.
func decode(bus string, a *edge.Answer) observed {
	d, r := a.Declaration, a.Record.Reading
	o := observed{Device: d.Device, Bus: bus, Unit: d.Unit, At: time.UnixMilli(a.Record.Wall).UTC(), Clock: clockNames[a.Record.Clock], Profile: d.Profile,
		Manufacturer: d.Manufacturer, Model: d.Model, Firmware: d.Firmware, Serial: d.Serial, Energy: d.Energy, Declaration: d.Hash(), Values: []value{}}
	if a.Err != nil {
		o.Error = a.Err.Error()
	}
	for i, v := range d.Values(r) {
		p := &d.Points[i]
		out := value{Point: p.Name, Unit: p.Unit, Quality: v.Quality.String(), Reason: v.Reason, Raw: words(d, r, p.Function, p.Address, p.Words)}
		switch {
		case v.Quality == wire.Good && p.Kind == wire.Label:
			out.Value = v.Text
		case v.Quality == wire.Good:
			out.Value = v.Number.String()
		}
		out.shown, out.mark = short(p, &v, out.Value), d.Profile == sunspec && p.Kind == wire.State && strings.HasSuffix(p.Name, ".ID")
		if p.ScaleAt != wire.NoScale {
			out.Scale = words(d, r, p.Function, uint16(p.ScaleAt), 1)
		}
		o.Values = append(o.Values, out)
	}
	return o
}

// short returns the text of a value for people. A binary float is exact in many
// digits, of which its type means only the first.
func short(p *wire.Point, v *wire.Value, exact string) string {
	if v.Quality != wire.Good || p.Type != wire.Float32 && p.Type != wire.Float64 {
		return exact
	}
	bits := 64
	if p.Type == wire.Float32 {
		bits = 32
	}
	f, _ := v.Number.Float64()
	return strconv.FormatFloat(f, 'f', -1, bits)
}

// words returns registers of a reading in hexadecimal, "" when they are not there.
func words(d *wire.Declaration, r *wire.Reading, function uint8, address, n uint16) string {
	k := d.BlockOf(&wire.Point{Function: function, Address: address, Words: n})
	if k < 0 || k >= len(r.Blocks) || len(r.Blocks[k].Words) != int(d.Blocks[k].Count) {
		return ""
	}
	at := int(address) - int(d.Blocks[k].Address)
	var out []string
	for _, w := range r.Blocks[k].Words[at : at+int(n)] {
		out = append(out, fmt.Sprintf("%04X", w))
	}
	return strings.Join(out, " ")
}

// name says in one line what a device is.
func (o *observed) name() string {
	var parts []string
	for _, s := range []string{o.Manufacturer, o.Model} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if o.Serial != "" {
		parts = append(parts, "serial "+o.Serial)
	}
	if len(parts) == 0 {
		parts = append(parts, "a device that has not said what it is")
	}
	return printable(strings.Join(parts, " "))
}

// print writes the table of a reading.
func (o *observed) print(w io.Writer) error {
	fmt.Fprintf(w, "%s  unit %d on bus %s: %s; profile %s; at %s, clock %s\n", o.Device, o.Unit, o.Bus, o.name(), o.Profile, o.At.Format("2006-01-02T15:04:05.000Z"), o.Clock)
	if err := o.table(w); err != nil {
		return err
	}
	if o.Error != "" {
		fmt.Fprintf(w, "  %s\n", o.Error)
	}
	_, err := fmt.Fprintln(w)
	return err
}

// table writes the values. The point that counts the device's energy has a star.
func (o *observed) table(w io.Writer) error {
	if len(o.Values) == 0 {
		return nil
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  POINT\tVALUE\tUNIT\tQUALITY\tREGISTERS")
	for _, v := range o.Values {
		if v.mark {
			continue
		}
		point, raw := v.Point, v.Raw
		if v.Point == o.Energy {
			point += " *"
		}
		if v.Scale != "" {
			raw += " sf " + v.Scale
		}
		quality := v.Quality
		if v.Reason != "" {
			quality += ": " + v.Reason
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\n", point, printable(v.shown), v.Unit, quality, raw)
	}
	return t.Flush()
}

// printable returns a text of a device, or about one, that a terminal and a
// comment can take: one line without anything that is not to be seen.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == ' ' || unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}
