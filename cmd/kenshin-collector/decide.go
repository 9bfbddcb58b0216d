package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/shopspring/decimal"

	"kenshin/calc"
	"kenshin/collector"
	"kenshin/configs"
)

// person says who does something, why and with what evidence.
type person struct {
	Who          string `help:"Name of the person who decides." placeholder:"NAME"`
	Why          string `help:"Reason, for the verifier." placeholder:"TEXT"`
	Evidence     string `help:"SHA-256 of the document that shows it." placeholder:"HEX"`
	EvidenceFile string `help:"The document itself: its SHA-256 is taken." placeholder:"FILE" type:"path"`
}

// evidence returns the hash of the document.
func (p *person) evidence() (string, error) {
	if p.EvidenceFile == "" {
		return strings.ToLower(p.Evidence), nil
	}
	text, err := os.ReadFile(p.EvidenceFile)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	if got := hex.EncodeToString(sum[:]); p.Evidence == "" || strings.EqualFold(got, p.Evidence) {
		return got, nil
	}
	return "", fmt.Errorf("%s: its SHA-256 is %x, --evidence says %s", p.EvidenceFile, sum, p.Evidence)
}

// setupUnknown marks what the caller asked for wrongly.
func setupUnknown(err error) error {
	if err == nil {
		return nil
	}
	return configs.Setup(err)
}

type inputFlags struct {
	Project   string `arg:"" help:"Reference of the project."`
	ID        string `arg:"" help:"Id of the input; a later one of the same id takes its place."`
	Parameter string `help:"Symbol of the methodology." placeholder:"SYMBOL"`
	Of        string `help:"Unit i it belongs to." placeholder:"UNIT"`
	From      string `help:"First day it is about, as 2026-01-01." placeholder:"DATE"`
	To        string `help:"Last day it is about." placeholder:"DATE"`
	Value     string `help:"Amount, a decimal." placeholder:"NUMBER"`
	Unit      string `help:"Unit of the amount, the methodology's." placeholder:"UNIT"`
	Document  string `help:"Invoice, list or report that shows it." placeholder:"TEXT"`
	Withdraw  bool   `help:"Take the input of this id out of force."`
	person    `embed:""`
}

func (f *inputFlags) run(ctx context.Context, col *collector.Collector, w io.Writer) error {
	if f.Withdraw {
		return f.done(ctx, col, w, "input", f.Project, f.ID, col.Enter(f.Project, f.ID, nil, f.Who, f.Why))
	}
	from, err1 := calc.ParseDate(f.From)
	to, err2 := calc.ParseDate(f.To)
	value, err3 := decimal.NewFromString(f.Value)
	evidence, err4 := f.evidence()
	if err3 != nil {
		err3 = fmt.Errorf("--value %q: want a decimal, like 12.5", f.Value)
	}
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return configs.Setup(err)
	}
	x := &calc.Input{ID: f.ID, Parameter: f.Parameter, UnitName: f.Of, From: from, To: to, Value: value, Unit: f.Unit, Document: f.Document, Evidence: evidence, Who: f.Who, Why: f.Why}
	why := f.Why
	if why == "" {
		why = f.Document
	}
	return f.done(ctx, col, w, "input", f.Project, f.ID, col.Enter(f.Project, f.ID, x, f.Who, why))
}

// done settles a decision and says that it is in the book.
func (p *person) done(ctx context.Context, col *collector.Collector, w io.Writer, what, project, id string, err error) error {
	if err != nil {
		return configs.Setup(err)
	}
	if err := col.Settle(ctx); err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s %s of project %s is record %d of the book; the figures follow it\n", what, id, project, col.Store().Size()-1)
	return err
}

type ruleFlags struct {
	Project    string `arg:"" help:"Reference of the project."`
	ID         string `arg:"" help:"Id of the ruling; a later one of the same id takes its place."`
	Meter      string `help:"Key of the meter." placeholder:"KEY"`
	Cause      string `help:"dip or spike: the readings from --from to --to do not count. restart, replacement, correction or rollover: at --from one register ends and another begins." placeholder:"CAUSE"`
	From       string `help:"Time with offset, as 2026-01-31T09:30:00+07:00." placeholder:"TIME"`
	To         string `help:"End of a span." placeholder:"TIME"`
	FinalKWh   string `name:"final-kwh" help:"What the register showed as it ended." placeholder:"KWH"`
	InitialKWh string `name:"initial-kwh" help:"What the register showed as it began." placeholder:"KWH"`
	Withdraw   bool   `help:"Take the ruling of this id out of force."`
	person     `embed:""`
}

func (f *ruleFlags) run(ctx context.Context, col *collector.Collector, w io.Writer) error {
	if f.Withdraw {
		return f.done(ctx, col, w, "ruling", f.Project, f.ID, col.Rule(f.Project, f.ID, nil, f.Who, f.Why))
	}
	r := &calc.Ruling{Meter: f.Meter, Cause: f.Cause, Who: f.Who, Why: f.Why}
	var errs []error
	for _, t := range []struct {
		text string
		to   *calc.Instant
	}{{f.From, &r.From}, {f.To, &r.To}} {
		if t.text != "" {
			errs = append(errs, t.to.UnmarshalText([]byte(t.text)))
		}
	}
	for _, n := range []struct {
		text string
		to   **decimal.Decimal
	}{{f.FinalKWh, &r.FinalKWh}, {f.InitialKWh, &r.InitialKWh}} {
		if n.text == "" {
			continue
		}
		d, err := decimal.NewFromString(n.text)
		if err != nil {
			err = fmt.Errorf("%q: want kWh as a decimal", n.text)
		}
		*n.to, errs = &d, append(errs, err)
	}
	var err error
	r.Evidence, err = f.evidence()
	if err := errors.Join(append(errs, err)...); err != nil {
		return configs.Setup(err)
	}
	return f.done(ctx, col, w, "ruling", f.Project, f.ID, col.Rule(f.Project, f.ID, r, f.Who, f.Why))
}

type splitFlags struct {
	Project  string           `arg:"" help:"Reference of the project."`
	ID       string           `arg:"" help:"Id of the split; a later one of the same id takes its place."`
	Period   int              `help:"Monitoring period, counted from 1 in the order of the project's file." default:"1" placeholder:"N"`
	Vintage  int              `help:"Calendar year." placeholder:"YEAR"`
	Account  map[string]int64 `help:"Whole tonnes of an account; once for each." placeholder:"NAME=TONNES"`
	Withdraw bool             `help:"Take the split of this id out of force."`
	person   `embed:""`
}

func (f *splitFlags) run(ctx context.Context, col *collector.Collector, w io.Writer) error {
	if f.Withdraw {
		return f.done(ctx, col, w, "split", f.Project, f.ID, col.Divide(f.Project, f.ID, nil, f.Who, f.Why))
	}
	p, _, err := col.Project(f.Project)
	if err != nil {
		return configs.Setup(err)
	}
	if f.Period < 1 || f.Period > len(p.Periods) {
		return configs.Setup(fmt.Errorf("project %s has no period %d; it has %d", f.Project, f.Period, len(p.Periods)))
	}
	s := &calc.Split{Period: p.Periods[f.Period-1], Vintage: f.Vintage, Accounts: f.Account, Who: f.Who, Why: f.Why}
	return f.done(ctx, col, w, "split", f.Project, f.ID, col.Divide(f.Project, f.ID, s, f.Who, f.Why))
}
