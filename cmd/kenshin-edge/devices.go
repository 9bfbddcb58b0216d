package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"kenshin/configs"
	"kenshin/edge"
	"kenshin/edge/device"
	"kenshin/edge/modbus"
)

// sunspec is the profile of a device that is asked what it is.
const sunspec = "sunspec"

// bus is what a bus of the configuration comes to.
type bus struct {
	config   *busConfig
	link     modbus.Config
	devices  []edge.Device
	profiles []*device.Profile // by device, nil for SunSpec
}

// planBus puts a bus of the configuration together with the profiles of its
// devices: the pauses a device needs are kept whatever the file says, and what
// is read along depends on the line.
func (c *config) planBus(b *busConfig, path string, wrong func(path, problem, remedy string) error) (bus, error) {
	out := bus{config: b, link: modbus.Config{Endpoint: b.Endpoint, Timeout: b.Timeout, ConnectTimeout: b.ConnectTimeout, ConnectDelay: b.ConnectDelay,
		Gap: b.Gap, SwitchGap: b.SwitchGap, CloseAfterPoll: b.CloseAfterPoll, Units: make(map[uint8]modbus.Unit)}}
	bridge, err := modbus.Bridge(b.Endpoint)
	if err != nil {
		return out, wrong(path+".endpoint", err.Error(), "write the endpoint so")
	}
	for k := range b.Devices {
		d := &b.Devices[k]
		made, p, err := c.device(d, bridge)
		var own *configs.Error
		if errors.As(err, &own) {
			return out, err // of the profile's file, with its line
		}
		if err != nil {
			return out, wrong(fmt.Sprintf("%s.devices[%d].profile", path, k), err.Error(), "see the profiles in configs/profiles")
		}
		u := out.link.Units[d.Unit]
		u.Timeout, u.Gap = max(u.Timeout, d.Timeout), max(u.Gap, d.Gap)
		if p != nil {
			out.link.ConnectDelay = max(out.link.ConnectDelay, p.Limits.ConnectDelay)
			keepTo(&u, p.Limits, b.Gap)
		}
		if u.SwitchGap < b.SwitchGap {
			u.SwitchGap = 0
		}
		if u != (modbus.Unit{}) {
			out.link.Units[d.Unit] = u
		}
		out.devices, out.profiles = append(out.devices, made), append(out.profiles, p)
	}
	m, err := modbus.New(out.link) // checks the rest; nothing is dialled
	if err != nil {
		return out, wrong(path, err.Error(), "correct it")
	}
	return out, m.Close()
}

// keepTo makes u keep to what a device needs, and gap is what all of a bus keep.
func keepTo(u *modbus.Unit, l device.Limits, gap time.Duration) {
	u.SwitchGap = max(u.SwitchGap, l.SwitchGap)
	u.Exact = u.Exact || len(l.Forbidden) > 0
	if most := l.Registers; most > 0 && (u.Most == 0 || most < u.Most) {
		u.Most = most
	}
	if l.Gap > gap {
		u.Gap = max(u.Gap, l.Gap)
	}
}

// device returns what the agent polls for a configured device, and its profile.
func (c *config) device(d *deviceConfig, bridge uint16) (edge.Device, *device.Profile, error) {
	out := edge.Device{ID: d.ID, Unit: d.Unit, Bases: d.Bases, Sub: int(d.Sub)}
	if d.Profile == sunspec {
		return out, nil, nil
	}
	file, text, err := profileText(c.Profiles, d.Profile)
	if err != nil {
		return out, nil, fmt.Errorf("device %q: %w", d.ID, err)
	}
	p, err := profile(file, text)
	if err != nil {
		return out, nil, err
	}
	decl, err := p.Declare(d.ID, d.Unit, sha256.Sum256(text), bridge)
	if err != nil {
		return out, nil, located(file, text, err)
	}
	out.Declaration = &decl
	return out, p, nil
}

// profile reads a profile from its text. Errors name file and line.
func profile(file string, text []byte) (*device.Profile, error) {
	var p device.Profile
	if err := configs.Decode(file, text, &p); err != nil {
		return nil, err
	}
	if want := strings.TrimSuffix(path.Base(filepath.ToSlash(file)), ".yaml"); p.Name != want {
		return nil, configs.At(file, text, "$.name", fmt.Sprintf("the profile is called %q", p.Name), fmt.Sprintf("call it %q, as its file is called", want))
	}
	if err := p.Validate(); err != nil {
		return nil, located(file, text, err)
	}
	return &p, nil
}

// located says in which line of a profile's file an error lies.
func located(file string, text []byte, err error) error {
	var wrong *device.ProfileError
	if errors.As(err, &wrong) {
		return configs.At(file, text, wrong.Path, wrong.Problem, wrong.Remedy)
	}
	return fmt.Errorf("%s: %w", file, err)
}

// profileText returns the text of a profile: from the operator's folder, or else
// from those that come with the program.
func profileText(folder, name string) (file string, text []byte, err error) {
	if folder != "" {
		file = filepath.Join(folder, name+".yaml")
		text, err = os.ReadFile(file)
		if !errors.Is(err, os.ErrNotExist) {
			return file, text, err
		}
	}
	file = "profiles/" + name + ".yaml"
	text, err = configs.Files.ReadFile(file)
	if err != nil {
		return file, nil, fmt.Errorf("there is no profile %q", name)
	}
	return "configs/" + file, text, nil
}

// known is a profile and the hash of its file.
type known struct {
	profile device.Profile
	hash    [32]byte
}

// allProfiles returns every profile there is, by name; those of the operator's
// folder come before those of the program.
func allProfiles(folder string) ([]known, error) {
	names := make(map[string]bool)
	entries, err := configs.Files.ReadDir("profiles")
	if err != nil {
		return nil, err
	}
	if folder != "" {
		own, err := os.ReadDir(folder)
		if err != nil {
			return nil, fmt.Errorf("folder of profiles: %w", err)
		}
		entries = append(entries, own...)
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok && !e.IsDir() {
			names[name] = true
		}
	}
	var out []known
	for name := range names {
		file, text, err := profileText(folder, name)
		if err != nil {
			return nil, err
		}
		p, err := profile(file, text)
		if err != nil {
			return nil, err
		}
		out = append(out, known{*p, sha256.Sum256(text)})
	}
	slices.SortFunc(out, func(a, b known) int { return strings.Compare(a.profile.Name, b.profile.Name) })
	return out, nil
}
