package calc

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
)

// Formulas are written like this:
//
//	sum(EC_PJ * COP_PJ / COP_RE * EF_elec)
//
// Numbers, symbols, + - * / and parentheses mean what they mean on paper. sum(x)
// adds up x over the units i: inside, a symbol that is per unit stands for that of
// unit i. sum_d(x) adds up x over the days d of the vintage. min(x, y, ...) and
// max(x, y, ...) choose. A table used like a function looks up: COP_class(CAP). A
// unit used like a function converts: MWh(x) is x in MWh. Nothing else is
// converted, so a formula in which kWh meets MWh does not load.

// expr is a formula or a part of one, checked for its units.
type expr struct {
	op     string // "number", "symbol", "term", "sum", "sum_d", "min", "max", "table", "convert", "neg" or the operator
	column int    // in the line, from 1
	symbol string
	number *big.Rat // the number, or the factor of a conversion
	table  *Table
	args   []*expr
	unit   unit
	each   bool // it has a value per unit i
	daily  bool // it has a value per day d
	size   int  // parts it has with those of its terms written out; of a whole formula or term only
}

// kind is what is known of a symbol when a formula is compiled.
type kind struct {
	unit  unit
	each  bool
	daily bool
	table *Table // it is a table, which is looked up by a value
	term  *expr  // it is a term, which stands for a formula of its own
}

type scope map[string]kind

const (
	maxFormula = 1000 // bytes of a formula
	maxDepth   = 100  // of parts within parts
	maxParts   = 5000 // of a formula with its terms written out: terms of terms grow fast
)

// decimalLiteral keeps out 0x1p-2, 1e999999999, 1_000 and 'a'.
var decimalLiteral = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)

// reserved reports whether a name means something in formulas by itself.
func reserved(name string) bool {
	switch name {
	case "sum", "sum_d", "min", "max", "RE", "PE", "ER", "_":
		return true
	}
	_, _, ok := size(name)
	return ok
}

// errAt is an error at a column of a formula.
func errAt(column int, format string, args ...any) error {
	return fmt.Errorf("column %d: "+format, append([]any{column}, args...)...)
}

// syntax names what formulas are made of.
const syntax = "formulas have + - * / ( ) sum sum_d min max, tables and units"

// compile reads a formula. What is per unit or per day must stand inside a sum.
func compile(text string, s scope) (*expr, error) {
	e, err := (&compiler{scope: s}).read(text)
	switch {
	case err != nil:
		return nil, err
	case e.each:
		return nil, errAt(e.column, "%s has a value per unit; add it up with sum(...)", e.first(func(e *expr) bool { return e.each }))
	case e.daily:
		return nil, errAt(e.column, "%s has a value per day; add it up with sum_d(...)", e.first(func(e *expr) bool { return e.daily }))
	}
	return e, nil
}

// read reads a formula or a term.
func (c *compiler) read(text string) (*expr, error) {
	switch {
	case strings.TrimSpace(text) == "":
		return nil, errors.New("is empty; write 0 where nothing is emitted")
	case len(text) > maxFormula:
		return nil, fmt.Errorf("has %d bytes, at most %d are read", len(text), maxFormula)
	case strings.ContainsAny(text, "\r\n"):
		return nil, errors.New("has more than one line")
	case strings.Contains(text, "//") || strings.Contains(text, "/*"):
		return nil, errors.New("holds a comment; put it into the description of a parameter")
	}
	tree, err := parser.ParseExprFrom(token.NewFileSet(), "", text, parser.SkipObjectResolution)
	if err != nil {
		var list scanner.ErrorList
		if errors.As(err, &list) && len(list) > 0 {
			return nil, errAt(list[0].Pos.Column, "%s", list[0].Msg)
		}
		return nil, err
	}
	e, err := c.compile(tree, 0)
	if err != nil {
		return nil, err
	}
	if e.size = e.parts(); e.size > maxParts {
		return nil, fmt.Errorf("has %d parts with its terms written out, at most %d are computed", e.size, maxParts)
	}
	return e, nil
}

func (e *expr) parts() int {
	n := 1
	for _, a := range e.args {
		if e.op == "term" {
			n += a.size
		} else {
			n += a.parts()
		}
	}
	return n
}

// first names a symbol that makes the expression be per unit or per day.
func (e *expr) first(is func(*expr) bool) string {
	if e.symbol != "" && e.op != "table" {
		return e.symbol
	}
	for _, a := range e.args {
		if is(a) {
			return a.first(is)
		}
	}
	return e.op
}

type compiler struct {
	scope scope
	// term compiles a term that is not in the scope yet; nil when there is none.
	term  func(symbol string) (kind, bool, error)
	inSum bool
	inDay bool
}

func (c *compiler) compile(n ast.Expr, depth int) (*expr, error) {
	column := int(n.Pos())
	if depth > maxDepth {
		return nil, errAt(column, "more than %d parts within each other", maxDepth)
	}
	switch n := n.(type) {
	case *ast.ParenExpr:
		return c.compile(n.X, depth+1)
	case *ast.BasicLit:
		return number(n, column)
	case *ast.Ident:
		return c.symbol(n.Name, column)
	case *ast.UnaryExpr:
		if n.Op != token.SUB {
			return nil, errAt(column, "%s is not part of formulas; "+syntax, n.Op)
		}
		x, err := c.compile(n.X, depth+1)
		if err != nil {
			return nil, err
		}
		return &expr{op: "neg", column: column, args: []*expr{x}, unit: x.unit, each: x.each, daily: x.daily}, nil
	case *ast.BinaryExpr:
		return c.binary(n, depth)
	case *ast.CallExpr:
		return c.call(n, depth)
	}
	return nil, errAt(column, "this is not part of formulas; "+syntax)
}

func (c *compiler) symbol(name string, column int) (*expr, error) {
	k, ok := c.scope[name]
	if !ok && c.term != nil {
		var err error
		if k, ok, err = c.term(name); err != nil {
			return nil, err
		}
	}
	switch {
	case !ok:
		return nil, errAt(column, "%s is no parameter; known are %s", name, strings.Join(slices.Sorted(maps.Keys(c.scope)), ", "))
	case k.table != nil:
		return nil, errAt(column, "%s is a table; look up a value in it, like %s(x)", name, name)
	case k.term != nil:
		return &expr{op: "term", column: column, symbol: name, args: []*expr{k.term}, unit: k.unit, each: k.each, daily: k.daily}, nil
	}
	return &expr{op: "symbol", column: column, symbol: name, unit: k.unit, each: k.each, daily: k.daily}, nil
}

func number(n *ast.BasicLit, column int) (*expr, error) {
	if !decimalLiteral.MatchString(n.Value) {
		return nil, errAt(column, "%s: write numbers as decimals, like 0.5", n.Value)
	}
	r, ok := new(big.Rat).SetString(n.Value)
	if !ok {
		return nil, errAt(column, "%s is no number", n.Value)
	}
	e := &expr{op: "number", column: column, number: r, unit: unit{}}
	if r.Sign() == 0 {
		e.unit = nil
	}
	return e, nil
}

func (c *compiler) binary(n *ast.BinaryExpr, depth int) (*expr, error) {
	x, err := c.compile(n.X, depth+1)
	if err != nil {
		return nil, err
	}
	y, err := c.compile(n.Y, depth+1)
	if err != nil {
		return nil, err
	}
	e := &expr{op: n.Op.String(), column: int(n.OpPos), args: []*expr{x, y}, each: x.each || y.each, daily: x.daily || y.daily}
	switch n.Op {
	case token.ADD, token.SUB:
		if e.unit, err = common(e); err != nil {
			return nil, err
		}
	case token.MUL:
		e.unit = x.unit.times(y.unit, 1)
	case token.QUO:
		if y.op == "number" && y.number.Sign() == 0 {
			return nil, errAt(y.column, "division by zero")
		}
		e.unit = x.unit.times(y.unit, -1)
	default:
		return nil, errAt(int(n.OpPos), "%s is not part of formulas; "+syntax, n.Op)
	}
	return e, nil
}

// common returns the unit that all parts of an expression have.
func common(e *expr) (unit, error) {
	var u unit
	for _, a := range e.args {
		if !u.fits(a.unit) {
			return nil, errAt(e.column, "%s joins %s and %s; convert one, like MWh(x)", e.op, u, a.unit)
		}
		if u == nil {
			u = a.unit
		}
	}
	return u, nil
}

func (c *compiler) call(n *ast.CallExpr, depth int) (*expr, error) {
	column := int(n.Pos())
	fun, ok := n.Fun.(*ast.Ident)
	if !ok || n.Ellipsis.IsValid() {
		return nil, errAt(column, "this is not part of formulas; "+syntax)
	}
	if fun.Name == "sum" || fun.Name == "sum_d" {
		return c.sum(n, fun.Name, depth)
	}
	e := &expr{op: fun.Name, column: column}
	for _, a := range n.Args {
		x, err := c.compile(a, depth+1)
		if err != nil {
			return nil, err
		}
		e.args, e.each, e.daily = append(e.args, x), e.each || x.each, e.daily || x.daily
	}
	if t := c.scope[fun.Name].table; t != nil {
		return e.lookup(t, c.scope[fun.Name].unit)
	}
	var err error
	switch fun.Name {
	case "min", "max":
		if len(e.args) < 2 {
			return nil, errAt(column, "%s needs two or more to choose from", fun.Name)
		}
		e.unit, err = common(e)
		return e, err
	}
	if _, _, ok := size(fun.Name); !ok || len(e.args) != 1 {
		return nil, errAt(column, "%s is no function of one value here; there are sum, sum_d, min, max, tables and units like MWh(x)", fun.Name)
	}
	e.op, e.unit = "convert", unit{fun.Name: 1}
	if e.number, err = conversion(e.args[0].unit, fun.Name); err != nil {
		return nil, errAt(column, "%w", err)
	}
	return e, nil
}

// lookup makes the expression one that looks up its argument in a table.
func (e *expr) lookup(t *Table, u unit) (*expr, error) {
	by, err := parseUnit(t.By)
	switch {
	case err != nil:
		return nil, errAt(e.column, "table %s: %w", t.Symbol, err)
	case len(e.args) != 1:
		return nil, errAt(e.column, "table %s is looked up by one value", t.Symbol)
	case !e.args[0].unit.fits(by):
		return nil, errAt(e.column, "table %s is looked up by a value in %s, not in %s", t.Symbol, by, e.args[0].unit)
	}
	e.op, e.symbol, e.table, e.unit = "table", t.Symbol, t, u
	return e, nil
}

// sum compiles sum(x), over the units, and sum_d(x), over the days.
func (c *compiler) sum(n *ast.CallExpr, op string, depth int) (*expr, error) {
	column := int(n.Pos())
	in, over, same := &c.inSum, "units", func(e *expr) bool { return !e.each }
	if op == "sum_d" {
		in, over, same = &c.inDay, "days", func(e *expr) bool { return !e.daily }
	}
	if *in || len(n.Args) != 1 {
		return nil, errAt(column, "%s takes one expression, and none that holds another %s", op, op)
	}
	*in = true
	x, err := c.compile(n.Args[0], depth+1)
	*in = false
	if err != nil {
		return nil, err
	}
	if same(x) {
		return nil, errAt(column, "%s of something that is the same for all %s: it would be counted as often as there are %s", op, over, over)
	}
	return &expr{op: op, column: column, args: []*expr{x}, unit: x.unit, each: x.each && op != "sum", daily: x.daily && op != "sum_d"}, nil
}
