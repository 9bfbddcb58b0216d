package configs

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// expand replaces ${NAME} and ${NAME:-otherwise} in the values below n by
// environment variables; $${ stands for ${ itself. It works on parsed values, so
// what a variable holds cannot change the shape of the file. A variable that is
// not set and has no otherwise is an error: an empty password is not a default.
func expand(file string, n ast.Node, env func(string) (string, bool)) error {
	var first error
	ast.Walk(visitor(func(n ast.Node) {
		s, ok := n.(*ast.StringNode)
		if !ok || first != nil || !strings.Contains(s.Value, "${") {
			return
		}
		v, err := substitute(s.Value, env)
		if err != nil {
			first = &Error{File: file, Line: s.Token.Position.Line, Problem: err.Error(), Remedy: "set it, or write ${NAME:-value} to say what holds without it"}
			return
		}
		s.Value = v
	}), n)
	return first
}

func substitute(s string, env func(string) (string, bool)) (string, error) {
	var out strings.Builder
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			out.WriteString(s)
			return out.String(), nil
		}
		if i > 0 && s[i-1] == '$' {
			out.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		out.WriteString(s[:i])
		name, rest, ok := strings.Cut(s[i+2:], "}")
		if !ok {
			return "", fmt.Errorf("%q has no closing brace", s[i:])
		}
		name, otherwise, optional := strings.Cut(name, ":-")
		if name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			return "", fmt.Errorf("${%s} does not name an environment variable", name)
		}
		v, set := env(name)
		switch {
		case set && v != "":
			out.WriteString(v)
		case optional:
			out.WriteString(otherwise)
		case !set:
			return "", fmt.Errorf("environment variable %s is not set", name)
		}
		s = rest
	}
}
