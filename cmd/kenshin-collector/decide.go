package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
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

func (f *inputFlags) run(ctx context.Context, c *config, stdout, stderr io.Writer) error {
	o := order{Do: "input", Project: f.Project, ID: f.ID, Who: f.Who, Why: cmp.Or(f.Why, f.Document)}
	if f.Withdraw {
		return decide(ctx, c, o, stdout, stderr)
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
	o.Input = &calc.Input{ID: f.ID, Parameter: f.Parameter, UnitName: f.Of, From: from, To: to, Value: value, Unit: f.Unit, Document: f.Document, Evidence: evidence, Who: f.Who, Why: f.Why}
	return decide(ctx, c, o, stdout, stderr)
}

// decide gives a decision to the running collector, or to one opened for it, and says
// that it is in the book.
func decide(ctx context.Context, c *config, o order, stdout, stderr io.Writer) error {
	a, err := c.order(ctx, o, stderr)
	if errors.As(err, &found{}) {
		return err
	}
	if err != nil {
		return configs.Setup(err)
	}
	_, err = fmt.Fprintln(stdout, a.Text)
	return err
}

// decide puts the decision of an order into the book and returns what to tell.
func (o *order) decide(col *collector.Collector) (string, error) {
	var err error
	switch o.Do {
	case "input":
		err = col.Enter(o.Project, o.ID, o.Input, o.Who, o.Why)
	case "rule":
		err = col.Rule(o.Project, o.ID, o.Ruling, o.Who, o.Why)
	case "split":
		var s *calc.Split
		if o.Split != nil {
			p, _, err := col.Project(o.Project)
			if err != nil {
				return "", err
			}
			if o.Period < 1 || o.Period > len(p.Periods) {
				return "", fmt.Errorf("project %s has no period %d; it has %d", o.Project, o.Period, len(p.Periods))
			}
			s = &calc.Split{Period: p.Periods[o.Period-1], Vintage: o.Split.Vintage, Accounts: o.Split.Accounts, Who: o.Who, Why: o.Why}
		}
		err = col.Divide(o.Project, o.ID, s, o.Who, o.Why)
	case "seal":
		s, err := col.Seal(o.Project, o.Period-1, o.Who, o.Why)
		if err != nil {
			return "", err
		}
		text := fmt.Sprintf("period %v of project %s is sealed as revision %d: %s tCO2, on the first %d records of the book", s.Period, o.Project, s.Revision, s.Figures.ER, s.Records)
		if p, _, err := col.Project(o.Project); err == nil && p.Status == calc.Illustration {
			text += "\nit is an illustration, its numbers are invented: it gives no credits"
		}
		for _, key := range slices.Sorted(maps.Keys(s.Below95)) {
			text += fmt.Sprintf("\nmeter %s: completeness %s %%, below 95 %%", key, s.Below95[key])
		}
		for _, l := range s.Late {
			text += fmt.Sprintf("\nnew since the revision before: %v", l)
		}
		return text + "\n\n" + s.Checkpoint, nil
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %s of project %s is in the book; the figures follow it", o.Do, o.ID, o.Project), nil
}

type ruleFlags struct {
	Project    string `arg:"" help:"Reference of the project."`
	ID         string `arg:"" help:"Id of the ruling; a later one of the same id takes its place."`
	Meter      string `help:"Key of the meter." placeholder:"KEY"`
	Cause      string `help:"dip or spike: the readings from --from to --to do not count. restart, replacement, correction or rollover: at --from one register ends and another begins." placeholder:"CAUSE"`
	From       string `help:"Time with offset, as 2026-01-31T09:30:00+07:00." placeholder:"TIME"`
	To         string `help:"End of a span." placeholder:"TIME"`
	FinalKWh   string `name:"final-kwh" help:"What the register showed as it ended, times the ratio of its record." placeholder:"KWH"`
	InitialKWh string `name:"initial-kwh" help:"What the register showed as it began, likewise." placeholder:"KWH"`
	FinalVal   string `name:"final-value" help:"In place of --final-kwh, of a meter that counts GJ, m3, Nm3 or t: in that unit." placeholder:"NUMBER"`
	InitialVal string `name:"initial-value" help:"In place of --initial-kwh of such a meter." placeholder:"NUMBER"`
	Withdraw   bool   `help:"Take the ruling of this id out of force."`
	person     `embed:""`
}

func (f *ruleFlags) run(ctx context.Context, c *config, stdout, stderr io.Writer) error {
	o := order{Do: "rule", Project: f.Project, ID: f.ID, Who: f.Who, Why: f.Why}
	if f.Withdraw {
		return decide(ctx, c, o, stdout, stderr)
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
	}{{f.FinalKWh, &r.FinalKWh}, {f.InitialKWh, &r.InitialKWh}, {f.FinalVal, &r.FinalVal}, {f.InitialVal, &r.InitialVal}} {
		if n.text == "" {
			continue
		}
		d, err := decimal.NewFromString(n.text)
		if err != nil {
			err = fmt.Errorf("%q: want a decimal, in kWh or what the meter counts", n.text)
		}
		*n.to, errs = &d, append(errs, err)
	}
	var err error
	r.Evidence, err = f.evidence()
	if err := errors.Join(append(errs, err)...); err != nil {
		return configs.Setup(err)
	}
	o.Ruling = r
	return decide(ctx, c, o, stdout, stderr)
}

// division is a split of the period that the order names by its number.
type division struct {
	Vintage  int              `json:"vintage"`
	Accounts map[string]int64 `json:"accounts"`
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

func (f *splitFlags) run(ctx context.Context, c *config, stdout, stderr io.Writer) error {
	o := order{Do: "split", Project: f.Project, ID: f.ID, Period: f.Period, Who: f.Who, Why: f.Why}
	if !f.Withdraw {
		o.Split = &division{f.Vintage, f.Account}
	}
	return decide(ctx, c, o, stdout, stderr)
}

type sealFlags struct {
	Project string `arg:"" help:"Reference of the project."`
	Period  int    `help:"Monitoring period, counted from 1 in the order of the project's file." default:"1" placeholder:"N"`
	Who     string `help:"Name of the person who stands for the figures." required:"" placeholder:"NAME"`
	Why     string `help:"What they are handed over for; for a revision, what came since." required:"" placeholder:"TEXT"`
}

func (f *sealFlags) run(ctx context.Context, c *config, stdout, stderr io.Writer) error {
	if calc.Blank(f.Who) || calc.Blank(f.Why) {
		return configs.Setup(errors.New("--who and --why: say who seals and why"))
	}
	return decide(ctx, c, order{Do: "seal", Project: f.Project, Period: f.Period, Who: f.Who, Why: f.Why}, stdout, stderr)
}
