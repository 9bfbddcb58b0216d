package configs

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// scalars compares what a file says with the Go types it is read into, before the YAML
// library does so: the library cuts 2.7 off to 2 where a whole number is wanted, takes
// 010 for 8 and a key without a value for one that is not there, and writes 1.10 into a
// text as 1.1.
type scalars struct {
	file    string
	anchors map[string]ast.Node
	done    map[use]bool // what an alias stands for is looked at once for each type
}

// use is a node that an alias stands for, read into a type.
type use struct {
	n ast.Node
	t reflect.Type
}

// wholeNumber is a whole number as people write it, or a register in hexadecimal.
var wholeNumber = regexp.MustCompile(`^([+-]?(0|[1-9][0-9]*)|0x[0-9A-Fa-f]+)$`)

// check walks a node beside the type it is read into. What does not fit the type's shape
// is left to the library, and so is what a type reads itself.
func (s *scalars) check(n ast.Node, t reflect.Type) error {
	switch x := n.(type) {
	case nil:
		return nil
	case *ast.AnchorNode:
		err := s.check(x.Value, t)
		s.anchors[x.Name.GetToken().Value] = x.Value // after its value, which cannot hold itself
		return err
	case *ast.AliasNode:
		u := use{s.anchors[x.Value.GetToken().Value], t}
		if u.n == nil || s.done[u] {
			return nil
		}
		s.done[u] = true
		return s.check(u.n, t)
	}
	if t.Kind() == reflect.Pointer {
		if n.Type() == ast.NullType {
			return nil
		}
		return s.check(n, t.Elem())
	}
	if readsItself(t) {
		return nil
	}
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return s.mapping(n, t)
	case reflect.Slice, reflect.Array:
		if list, ok := n.(*ast.SequenceNode); ok {
			for i, v := range list.Values {
				if err := s.check(v, t.Elem()); err != nil {
					return err
				}
				list.Values[i] = asWritten(v, t.Elem())
			}
		}
		return nil
	}
	return s.scalar(n, t)
}

// readsItself reports a type that reads its own text.
func readsItself(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	for _, name := range []string{"UnmarshalYAML", "UnmarshalText"} {
		if _, ok := p.MethodByName(name); ok {
			return true
		}
	}
	return false
}

func (s *scalars) mapping(n ast.Node, t reflect.Type) error {
	var pairs []*ast.MappingValueNode
	switch x := n.(type) {
	case *ast.MappingNode:
		pairs = x.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{x}
	}
	for _, p := range pairs {
		of := t
		switch {
		case p.Key.IsMergeKey():
		case t.Kind() == reflect.Map:
			if err := s.key(p.Key, t.Key()); err != nil {
				return err
			}
			of = t.Elem()
		default:
			f, ok := field(t, p.Key.GetToken().Value)
			if !ok {
				continue // the library says that the key is unknown
			}
			of = f
		}
		if err := s.check(p.Value, of); err != nil {
			return err
		}
		p.Value = asWritten(p.Value, of)
	}
	return nil
}

// key checks the key of a map, such as a year.
func (s *scalars) key(k ast.MapKeyNode, t reflect.Type) error {
	if !isInteger(t) || wholeNumber.MatchString(k.GetToken().Value) {
		return nil
	}
	return s.wrong(k, fmt.Sprintf("key %q is no whole number", k.GetToken().Value), "write it as one, such as 2026")
}

// field returns the type of the field that a key names.
func field(t reflect.Type, key string) (reflect.Type, bool) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == key && name != "-" {
			return f.Type, true
		}
		if strings.Contains(options, "inline") {
			if of, ok := field(f.Type, key); ok {
				return of, true
			}
		}
	}
	return nil, false
}

func isInteger(t reflect.Type) bool {
	return t.Kind() >= reflect.Int && t.Kind() <= reflect.Uint64
}

func (s *scalars) scalar(n ast.Node, t reflect.Type) error {
	text := ""
	switch x := n.(type) {
	case *ast.NullNode:
		if t.Kind() == reflect.String || t.Kind() == reflect.Interface {
			return nil // as if it were not there
		}
		return s.wrong(n, "the key has no value", "want "+kind(t)+", or take the line out")
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		text = n.GetToken().Value
	case *ast.StringNode: // quoted, or from the environment
		text = x.Value
	default:
		return nil
	}
	if text == "" || !isInteger(t) || kind(t) == kind(durationType) || wholeNumber.MatchString(text) {
		return nil
	}
	if _, ok := n.(*ast.StringNode); ok && strings.Trim(text, "0123456789+-._eE") != "" {
		return nil // a word, which the library refuses
	}
	return s.wrong(n, fmt.Sprintf("%s is no whole number as it is written here", text), "want "+kind(t)+" in plain digits, such as 10, or 0x0A in hexadecimal")
}

func (s *scalars) wrong(n ast.Node, problem, remedy string) error {
	return &Error{File: s.file, Line: n.GetToken().Position.Line, Problem: problem, Remedy: remedy}
}

// asWritten turns a number that stands where a text is wanted into that text, so that
// version 1.10 does not become 1.1, and serial number 0047 not 39.
func asWritten(n ast.Node, t reflect.Type) ast.Node {
	if t.Kind() != reflect.String || readsItself(t) {
		return n
	}
	switch x := n.(type) {
	case *ast.IntegerNode, *ast.FloatNode:
		return ast.String(x.GetToken())
	case *ast.AnchorNode:
		x.Value = asWritten(x.Value, t)
	}
	return n
}
