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
// unit i. min(x, y, ...) and max(x, y, ...) choose. A unit used like a function
// converts: MWh(x) is x in MWh. Nothing else is converted, so a formula in which
// kWh meets MWh does not load.

// expr is a formula or a part of one, checked for its units.
type expr struct {
	op     string // "number", "symbol", "sum", "min", "max", "convert", "neg" or the operator
	column int    // in the line, from 1
	symbol string
	number *big.Rat // the number, or the factor of a conversion
	args   []*expr
	unit   unit
	each   bool // it has a value per unit i
}

// kind is what is known of a symbol when a formula is compiled.
type kind struct {
	unit unit
	each bool
}

type scope map[string]kind

const (
	maxFormula = 1000 // bytes of a formula
	maxDepth   = 100  // of parts within parts
)

// decimalLiteral keeps out 0x1p-2, 1e999999999, 1_000 and 'a'.
var decimalLiteral = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)

// reserved reports whether a name means something in formulas by itself.
func reserved(name string) bool {
	switch name {
	case "sum", "min", "max", "RE", "PE", "ER", "_":
		return true
	}
	_, _, ok := size(name)
	return ok
}

// errAt is an error at a column of a formula.
func errAt(column int, format string, args ...any) error {
	return fmt.Errorf("column %d: "+format, append([]any{column}, args...)...)
}

// compile reads a formula. What is per unit must stand inside a sum.
func compile(text string, s scope) (*expr, error) {
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
	c := compiler{scope: s}
	e, err := c.compile(tree, 0)
	if err != nil {
		return nil, err
	}
	if e.each {
		return nil, errAt(e.column, "%s has a value per unit; add it up with sum(...)", e.firstEach())
	}
	return e, nil
}

// firstEach names a symbol that makes the expression per unit.
func (e *expr) firstEach() string {
	if e.op == "symbol" {
		return e.symbol
	}
	for _, a := range e.args {
		if a.each {
			return a.firstEach()
		}
	}
	return e.op
}

type compiler struct {
	scope scope
	inSum bool
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
		k, ok := c.scope[n.Name]
		if !ok {
			return nil, errAt(column, "%s is no parameter; known are %s", n.Name, strings.Join(slices.Sorted(maps.Keys(c.scope)), ", "))
		}
		return &expr{op: "symbol", column: column, symbol: n.Name, unit: k.unit, each: k.each}, nil
	case *ast.UnaryExpr:
		if n.Op != token.SUB {
			return nil, errAt(column, "%s is not part of formulas; they have + - * / ( ) sum min max", n.Op)
		}
		x, err := c.compile(n.X, depth+1)
		if err != nil {
			return nil, err
		}
		return &expr{op: "neg", column: column, args: []*expr{x}, unit: x.unit, each: x.each}, nil
	case *ast.BinaryExpr:
		return c.binary(n, depth)
	case *ast.CallExpr:
		return c.call(n, depth)
	}
	return nil, errAt(column, "this is not part of formulas; they have + - * / ( ) sum min max")
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
	e := &expr{op: n.Op.String(), column: int(n.OpPos), args: []*expr{x, y}, each: x.each || y.each}
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
		return nil, errAt(int(n.OpPos), "%s is not part of formulas; they have + - * / ( ) sum min max", n.Op)
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
		return nil, errAt(column, "this is not part of formulas; they have + - * / ( ) sum min max")
	}
	if fun.Name == "sum" {
		return c.sum(n, depth)
	}
	e := &expr{op: fun.Name, column: column}
	for _, a := range n.Args {
		x, err := c.compile(a, depth+1)
		if err != nil {
			return nil, err
		}
		e.args, e.each = append(e.args, x), e.each || x.each
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
		return nil, errAt(column, "%s is no function of one value here; there are sum, min, max and units like MWh(x)", fun.Name)
	}
	e.op, e.unit = "convert", unit{fun.Name: 1}
	if e.number, err = conversion(e.args[0].unit, fun.Name); err != nil {
		return nil, errAt(column, "%w", err)
	}
	return e, nil
}

func (c *compiler) sum(n *ast.CallExpr, depth int) (*expr, error) {
	column := int(n.Pos())
	if c.inSum || len(n.Args) != 1 {
		return nil, errAt(column, "sum takes one expression, and none that holds another sum")
	}
	c.inSum = true
	x, err := c.compile(n.Args[0], depth+1)
	c.inSum = false
	if err != nil {
		return nil, err
	}
	if !x.each {
		return nil, errAt(column, "sum of something that is the same for all units: it would be counted as often as there are units")
	}
	return &expr{op: "sum", column: column, args: []*expr{x}, unit: x.unit}, nil
}

// eval computes the expression, inside a sum for unit i.
func (e *expr) eval(in *inputs, i *unitInputs) (*big.Rat, error) {
	switch e.op {
	case "number":
		return e.number, nil
	case "symbol":
		return e.value(in, i)
	case "sum":
		total := new(big.Rat)
		for k := range in.units {
			x, err := e.args[0].eval(in, &in.units[k])
			if err != nil {
				return nil, fmt.Errorf("unit %s: %w", in.units[k].name, err)
			}
			total.Add(total, x)
		}
		return total, nil
	}
	values := make([]*big.Rat, len(e.args))
	for k, a := range e.args {
		var err error
		if values[k], err = a.eval(in, i); err != nil {
			return nil, err
		}
	}
	return e.apply(values)
}

func (e *expr) value(in *inputs, i *unitInputs) (*big.Rat, error) {
	values := in.project
	if e.each {
		values = i.values
	}
	v := values[e.symbol]
	if v == nil {
		return nil, errAt(e.column, "%s has no value", e.symbol)
	}
	return v, nil
}

func (e *expr) apply(v []*big.Rat) (*big.Rat, error) {
	out := new(big.Rat)
	switch e.op {
	case "+":
		return out.Add(v[0], v[1]), nil
	case "-":
		return out.Sub(v[0], v[1]), nil
	case "*":
		return out.Mul(v[0], v[1]), nil
	case "/":
		if v[1].Sign() == 0 {
			return nil, errAt(e.column, "division by zero")
		}
		return out.Quo(v[0], v[1]), nil
	case "neg":
		return out.Neg(v[0]), nil
	case "convert":
		return out.Mul(v[0], e.number), nil
	case "min":
		return slices.MinFunc(v, (*big.Rat).Cmp), nil
	default: // max
		return slices.MaxFunc(v, (*big.Rat).Cmp), nil
	}
}
