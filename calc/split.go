package calc

import (
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
)

var hashPattern = regexp.MustCompile(`^[0-9a-fA-F]{64}$`)

// Account takes a part of the credits.
type Account struct {
	Name    string `yaml:"name" json:"name"`
	Percent Number `yaml:"percent" json:"percent"` // of each vintage; all of them add up to 100
}

// Split is how people have divided the credits of a vintage: whole tonnes.
type Split struct {
	Period   Span             `json:"period"`
	Vintage  int              `json:"vintage"`
	Accounts map[string]int64 `json:"accounts"`
	Who      string           `json:"who"`
	Why      string           `json:"why,omitempty"`
}

func (s *Split) validate(p *Project) error {
	switch {
	case s.Who == "":
		return fmt.Errorf("split of vintage %d: say who decided it", s.Vintage)
	case !slices.Contains(p.Periods, s.Period):
		return fmt.Errorf("split of vintage %d: project %s has no period %v", s.Vintage, p.Reference, s.Period)
	case s.Vintage < s.Period.Start.Year || s.Vintage > s.Period.End.Year:
		return fmt.Errorf("split: period %v has no vintage %d", s.Period, s.Vintage)
	case len(s.Accounts) == 0:
		return fmt.Errorf("split of vintage %d names no account", s.Vintage)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Accounts)) {
		if s.Accounts[name] < 0 {
			return fmt.Errorf("split of vintage %d: account %s gets %d tCO2; want 0 or more", s.Vintage, name, s.Accounts[name])
		}
		if !slices.ContainsFunc(p.Allocation, func(a Account) bool { return a.Name == name }) {
			return fmt.Errorf("split of vintage %d: project %s has no account %q", s.Vintage, p.Reference, name)
		}
	}
	return nil
}

func (p *Project) checkAllocation() error {
	var sum Number
	seen := make(map[string]bool)
	for i, a := range p.Allocation {
		path := fmt.Sprintf("$.allocation[%d]", i)
		switch {
		case a.Name == "" || seen[a.Name]:
			return faultAt(path, fmt.Errorf("allocation: account %q: give each account a name of its own", a.Name))
		case !a.Percent.sane() || a.Percent.IsNegative():
			return faultAt(path, fmt.Errorf("allocation: account %s: percent %s: want 0 to 100", a.Name, a.Percent))
		}
		seen[a.Name] = true
		sum.Decimal = sum.Add(a.Percent.Decimal)
	}
	if len(p.Allocation) > 0 && sum.String() != "100" {
		return faultAt("$.allocation", fmt.Errorf("allocation: the percents add up to %s; want 100", sum))
	}
	return nil
}

// ProposalRule is how a split is proposed: the first account named gets its
// percent of the vintage rounded up, the others theirs rounded down, and the last
// one what is left. Published splits follow no single rule; people decide.
const ProposalRule = "first account rounded up, others down, the rest to the last"

// SplitReport is the division of one vintage.
type SplitReport struct {
	Proposal map[string]string `json:"proposal"`
	Rule     string            `json:"rule"`
	Decided  map[string]int64  `json:"decided,omitempty"`
	Who      string            `json:"who,omitempty"`
	Problem  string            `json:"problem,omitempty"` // when what was decided does not add up to ER
}

// split fills in the division of a vintage of er whole tonnes, or of as many as were
// sealed: what was handed over is what is divided.
func (b *builder) split(year int, er *big.Int) {
	accounts := b.project.Allocation
	if len(accounts) == 0 {
		return
	}
	if s := b.project.Sealed(b.report.Period); s != nil {
		if n, ok := new(big.Int).SetString(s.Figures.Vintages[fmt.Sprint(year)]["ER_tCO2"], 10); ok {
			er = n
		}
	}
	s := SplitReport{Rule: ProposalRule, Proposal: make(map[string]string)}
	rest := new(big.Int).Set(er)
	if rest.Sign() < 0 {
		rest.SetInt64(0)
	}
	whole := new(big.Rat).SetInt(rest)
	for i, a := range accounts {
		part := new(big.Rat).Mul(whole, new(big.Rat).Quo(a.Percent.Rat(), big.NewRat(100, 1)))
		n := floor(part)
		switch {
		case i == len(accounts)-1:
			n.Set(rest)
		case i == 0 && !part.IsInt():
			n.Add(n, big.NewInt(1))
		}
		if n.Cmp(rest) > 0 {
			n.Set(rest)
		}
		rest.Sub(rest, n)
		s.Proposal[a.Name] = n.String()
	}
	for _, d := range b.project.Decided.Splits {
		if d.Period != b.report.Period || d.Vintage != year {
			continue
		}
		s.Decided, s.Who = d.Accounts, d.Who
		sum := new(big.Int)
		for _, n := range d.Accounts {
			sum.Add(sum, big.NewInt(n))
		}
		if sum.Cmp(er) != 0 {
			s.Problem = fmt.Sprintf("decided for %s tCO2, the vintage has %s", sum, er)
		}
	}
	if b.report.Splits == nil {
		b.report.Splits = make(map[string]SplitReport)
	}
	b.report.Splits[fmt.Sprint(year)] = s
}
