package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kenshin/calc"
	"kenshin/collector"
	"kenshin/configs"
)

type methodologyCommands struct {
	Check struct {
		Files []string `arg:"" optional:"" help:"Files, or folders of .yaml files; without one, those that come with the program."`
	} `cmd:"" help:"Read methodology files, check their units and run their examples. Exit 1 if one is not in order."`
	Show struct {
		File string `arg:"" help:"File, or number of a methodology that comes with the program."`
	} `cmd:"" help:"Print parameters and formulas with their units."`
	Explain struct {
		File    string `arg:"" optional:"" help:"File or number; with --project it may be left out."`
		Example int    `help:"Worked example of the file, counted from 1." default:"1" placeholder:"N"`
		Project string `help:"Explain a period of this project instead, as totals --explain does. The collector must be stopped." placeholder:"REF"`
		Period  int    `help:"Monitoring period, counted from 1 in the order of the project's file." default:"1" placeholder:"N"`
	} `cmd:"" help:"Print every number that goes into a worked example, or into a period of a project."`
}

func (c *cli) methodology(ctx context.Context, command string, stdout, stderr io.Writer) error {
	verb, _, _ := strings.Cut(command, " ")
	switch {
	case verb == "check":
		return checkMethodologies(c.Methodology.Check.Files, stdout)
	case verb == "show":
		_, m, err := oneMethodology(c.Methodology.Show.File)
		if err != nil {
			return err
		}
		return m.Show(stdout)
	}
	if c.Methodology.Explain.Project != "" {
		return c.explainPeriod(ctx, stdout, stderr)
	}
	_, m, err := oneMethodology(c.Methodology.Explain.File)
	if err != nil {
		return err
	}
	if err := m.ExplainExample(stdout, c.Methodology.Explain.Example-1); err != nil {
		return configs.Setup(err)
	}
	return nil
}

// methodologyFile is a file as it was read. The methodology is nil when it cannot be read.
type methodologyFile struct {
	collector.File
	m      *calc.Methodology
	faults []error
}

func (f *methodologyFile) pin() calc.Pin { return calc.Pin{Number: f.m.Number, Version: f.m.Version} }

// shelf finds methodologies by number and version.
type shelf map[calc.Pin]*methodologyFile

// read decodes files and puts them on the shelf. A file that is given takes the place of
// one that comes with the program.
func (s shelf) read(files []collector.File) []*methodologyFile {
	var out []*methodologyFile
	names := make(map[calc.Pin]string)
	for _, file := range files {
		f := &methodologyFile{File: file}
		out = append(out, f)
		var m calc.Methodology
		if err := configs.Decode(file.Name, file.Text, &m); err != nil {
			f.faults = append(f.faults, err)
			continue
		}
		f.m = &m
		if other, ok := names[f.pin()]; ok {
			f.faults = append(f.faults, configs.At(file.Name, file.Text, "$.number", fmt.Sprintf("%v is the number of %s too", f.pin(), other), "give each its own number or version"))
		}
		names[f.pin()], s[f.pin()] = file.Name, f
	}
	return out
}

// find returns the methodology of a pin, nil when there is none.
func (s shelf) find(p calc.Pin) *calc.Methodology {
	if f := s[p]; f != nil {
		return f.m
	}
	return nil
}

// check resolves a file and lists what is wrong with it.
func (s shelf) check(f *methodologyFile) {
	if f.m == nil {
		return
	}
	m, err := f.m.Resolve(s.find)
	var fault *calc.Fault
	var faults []*calc.Fault
	if errors.As(err, &fault) {
		faults = append(faults, fault)
	} else {
		f.m, faults = m, m.Faults()
	}
	for _, x := range faults {
		f.faults = append(f.faults, configs.At(f.Name, f.Text, x.Path, x.Problem, cmp.Or(x.Remedy, "compare it with a file that ships")))
	}
}

// ownMethodologies returns those that come with the program.
func ownMethodologies() ([]collector.File, error) {
	methodologies, _, err := (&config{}).texts()
	return methodologies, err
}

// checkMethodologies lists what is wrong with files, or else what they are.
func checkMethodologies(paths []string, w io.Writer) error {
	files, err := ownMethodologies()
	if err != nil {
		return err
	}
	s := make(shelf)
	list := s.read(files)
	if len(paths) > 0 {
		given, err := read(paths)
		if err != nil {
			return configs.Setup(err)
		}
		if len(given) == 0 {
			return configs.Setup(fmt.Errorf("%s: no .yaml file", strings.Join(paths, ", ")))
		}
		list = s.read(given)
	}
	bad := 0
	for _, f := range list {
		s.check(f)
		for _, err := range f.faults {
			fmt.Fprintf(w, "FAULT  %v\n", err)
		}
		if len(f.faults) > 0 {
			bad++
			continue
		}
		fmt.Fprintf(w, "good   %-14s %-5s %-10s %-7s examples: %d  %s\n", f.m.Number, f.m.Version, f.m.Status, f.m.Family, len(f.m.Examples), f.Name)
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d methodology files are not in order", bad, len(list))
	}
	_, err = fmt.Fprintf(w, "\nmethodology files: %d, all good\n", len(list))
	return err
}

// oneMethodology returns a methodology by its file or its number, in order and resolved.
func oneMethodology(name string) (*methodologyFile, *calc.Methodology, error) {
	if name == "" {
		return nil, nil, configs.Setup(errors.New("name a methodology file, or a project with --project"))
	}
	files, err := ownMethodologies()
	if err != nil {
		return nil, nil, err
	}
	s := make(shelf)
	list := s.read(files)
	var found []*methodologyFile
	if _, err := os.Stat(name); err == nil {
		// What it extends may stand beside it.
		beside, err := filepath.Glob(filepath.Join(filepath.Dir(name), "*.yaml"))
		if err != nil {
			return nil, nil, configs.Setup(err)
		}
		given, err := read(slices.DeleteFunc(beside, func(n string) bool { return filepath.Clean(n) == filepath.Clean(name) }))
		if err != nil {
			return nil, nil, configs.Setup(err)
		}
		s.read(given)
		if given, err = read([]string{name}); err != nil {
			return nil, nil, configs.Setup(err)
		}
		found = s.read(given)
	} else {
		for _, f := range list {
			if f.m != nil && (strings.EqualFold(f.m.Number, name) || strings.EqualFold(f.pin().String(), name)) {
				found = append(found, f)
			}
		}
	}
	switch len(found) {
	case 0:
		return nil, nil, configs.Setup(fmt.Errorf("%s is no file and no number of a methodology; `kenshin-collector methodology check` lists them", name))
	case 1:
	default:
		var pins []string
		for _, f := range found {
			pins = append(pins, fmt.Sprintf("%q", f.pin()))
		}
		return nil, nil, configs.Setup(fmt.Errorf("%s: there are %s; name one of them", name, strings.Join(pins, ", ")))
	}
	f := found[0]
	s.check(f)
	if len(f.faults) > 0 {
		return nil, nil, errors.Join(f.faults...)
	}
	return f, f.m, nil
}

// explainPeriod prints every number that went into a period of a project, when the
// project is computed by the rules of the file, if one is named.
func (c *cli) explainPeriod(ctx context.Context, stdout, stderr io.Writer) error {
	args := c.Methodology.Explain
	cfg, err := load(c.Config)
	if err != nil {
		return configs.Setup(err)
	}
	return cfg.with(ctx, stderr, func(col *collector.Collector) error {
		p, used, err := col.Project(args.Project)
		if err != nil {
			return configs.Setup(err)
		}
		if args.File != "" {
			_, m, err := oneMethodology(args.File)
			if err != nil {
				return err
			}
			if m.Hash() != used.Hash() {
				return configs.Setup(fmt.Errorf("%s holds %s %s with rules sha256 %.12s, project %s is computed by %v with rules sha256 %.12s", args.File, m.Number, m.Version, m.Hash(), p.Reference, p.Methodology, used.Hash()))
			}
		}
		return setupUnknown(col.Explain(stdout, args.Project, args.Period-1))
	})
}
