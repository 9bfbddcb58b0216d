package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// Error is what is wrong with a file that a person edits, in one line.
type Error struct {
	File    string
	Line    int // from 1; 0 when the whole file is meant
	Problem string
	Remedy  string
}

// Error returns "file:line: problem; remedy".
func (e *Error) Error() string {
	where := e.File
	if e.Line > 0 {
		where += ":" + strconv.Itoa(e.Line)
	}
	return where + ": " + e.Problem + "; " + e.Remedy
}

// Load reads the YAML file into v, a pointer to a struct, and puts environment
// variables in place (see Expand). It returns the text for error messages of
// later checks. Keys that the struct does not have are errors.
func Load(file string, v any) (text []byte, err error) {
	text, err = os.ReadFile(file)
	if err != nil {
		return nil, missing(file, err)
	}
	return text, decode(file, text, v, os.LookupEnv)
}

// Decode reads YAML text into v, a pointer to a struct, as it stands: the same
// text is the same value on every machine. Keys that the struct does not have
// are errors. file is for messages only.
func Decode(file string, text []byte, v any) error { return decode(file, text, v, nil) }

func decode(file string, text []byte, v any, env func(string) (string, bool)) error {
	text = bytes.TrimPrefix(text, byteOrderMark)
	if err := checkShape(file, text); err != nil {
		return err
	}
	doc, err := parser.ParseBytes(text, 0)
	if err != nil {
		return explain(file, nil, err)
	}
	docs := doc.Docs
	if len(docs) > 0 && docs[len(docs)-1].Body == nil {
		docs = docs[:len(docs)-1] // a file that ends with ---
	}
	switch {
	case len(docs) == 0 || docs[0].Body == nil || docs[0].Body.Type() == ast.CommentType || docs[0].Body.Type() == ast.CommentGroupType:
		return &Error{File: file, Problem: "the file is empty", Remedy: "write `key: value` lines as in the example file"}
	case len(docs) > 1:
		return &Error{File: file, Line: docs[1].GetToken().Position.Line, Problem: "a second document begins here", Remedy: "take out the line `---`"}
	}
	body := docs[0].Body
	if env != nil {
		if err := expand(file, body, env); err != nil {
			return err
		}
	}
	sc := scalars{file: file, anchors: make(map[string]ast.Node), done: make(map[use]bool)}
	if err := sc.check(body, reflect.TypeOf(v)); err != nil {
		return err
	}
	err = yaml.NewDecoder(bytes.NewReader(nil), yaml.Strict()).DecodeFromNode(body, v)
	if err != nil && !errors.Is(err, io.EOF) {
		return explain(file, body, err)
	}
	return nil
}

// byteOrderMark is what some editors of Windows put before UTF-8.
var byteOrderMark = []byte("\xEF\xBB\xBF")

// Limits of a file, far above what one needs. The parser's memory grows with the
// square of the depth, so they are checked before it sees the text.
const (
	maxSize  = 1 << 20 // bytes
	maxDepth = 100     // brackets that are open at once
	maxLead  = 200     // spaces, hyphens and question marks a line begins with
)

// checkShape refuses a text that is too long or too deep to be read. It does not
// know quotes: a bracket in a text counts too.
func checkShape(file string, text []byte) error {
	if len(text) > maxSize {
		return &Error{File: file, Problem: fmt.Sprintf("the file has %d bytes, at most %d", len(text), maxSize), Remedy: "check that it is the right one"}
	}
	if bytes.HasPrefix(text, []byte("\xFF\xFE")) || bytes.HasPrefix(text, []byte("\xFE\xFF")) {
		return &Error{File: file, Line: 1, Problem: "the file is written in UTF-16", Remedy: "save it as UTF-8"}
	}
	depth := 0
	for n, line := range bytes.Split(text, []byte("\n")) {
		depth = max(depth, 0)
		for _, c := range line {
			switch c {
			case '[', '{':
				depth++
			case ']', '}':
				depth--
			}
			if depth > maxDepth {
				return &Error{File: file, Line: n + 1, Problem: fmt.Sprintf("more than %d brackets are open", maxDepth), Remedy: "close them"}
			}
		}
		if len(line)-len(bytes.TrimLeft(line, " -?")) > maxLead {
			return &Error{File: file, Line: n + 1, Problem: fmt.Sprintf("the line begins with more than %d spaces, hyphens and question marks", maxLead), Remedy: "indent by two spaces a level"}
		}
	}
	return nil
}

// explain turns an error of the YAML library into one line with a remedy.
func explain(file string, body ast.Node, err error) error {
	var known yaml.Error
	if !errors.As(err, &known) {
		return &Error{File: file, Line: lineOf(body, err.Error()), Problem: oneLine(err.Error()), Remedy: "write the value as the example file does"}
	}
	e := &Error{File: file, Problem: oneLine(known.GetMessage()), Remedy: "compare it with the example file"}
	if t := known.GetToken(); t != nil && t.Position != nil {
		e.Line = t.Position.Line
	}
	var unknown *yaml.UnknownFieldError
	var twice *yaml.DuplicateKeyError
	var typ *yaml.TypeError
	var over *yaml.OverflowError
	var node *yaml.UnexpectedNodeTypeError
	switch {
	case errors.As(err, &unknown):
		e.Problem, e.Remedy = fmt.Sprintf("key %q is unknown here", unknown.Token.Value), "check its spelling and its indentation"
	case errors.As(err, &twice):
		e.Problem, e.Remedy = fmt.Sprintf("key %q stands here twice", twice.Token.Value), "keep one of the two"
	case errors.As(err, &over):
		e.Problem, e.Remedy = fmt.Sprintf("%s does not fit", over.SrcNum), "want "+kind(over.DstType)
	case errors.As(err, &typ):
		e.Problem, e.Remedy = fmt.Sprintf("%q is of the wrong type", typ.Token.Value), "want "+kind(typ.DstType)
	case errors.As(err, &node):
		e.Problem, e.Remedy = "a "+shape(node.Actual)+" where a "+shape(node.Expected)+" is expected", "check indentation and hyphens"
	default:
		e.Problem, e.Remedy = "not YAML: "+e.Problem, "check indentation, colons and quotes"
	}
	return e
}

var durationType = reflect.TypeFor[time.Duration]()

// kind says for people what a Go type takes.
func kind(t reflect.Type) string {
	if t == nil {
		return "another type"
	}
	switch {
	case t == durationType:
		return "a duration such as 500ms, 10s or 5m"
	case t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64:
		return "a whole number"
	case t.Kind() >= reflect.Uint && t.Kind() <= reflect.Uint64:
		return fmt.Sprintf("a whole number from 0 to %d", ^uint64(0)>>(64-t.Bits()))
	case t.Kind() == reflect.Float64:
		return "a number"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.String:
		return "a text"
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Array:
		return "a list: lines that begin with `- `"
	case t.Kind() == reflect.Map || t.Kind() == reflect.Struct:
		return "`key: value` lines, indented"
	}
	return t.String()
}

// shape says for people what a node of YAML is.
func shape(t ast.NodeType) string {
	switch t {
	case ast.SequenceType:
		return "list"
	case ast.MappingType, ast.MappingValueType:
		return "group of `key: value` lines"
	default:
		return "single value"
	}
}

var quotedText = regexp.MustCompile(`"(?:[^"\\]|\\.)*"`)

// lineOf finds the line of the value an error speaks of, 0 when that is not
// plain: errors of a type's own decoding carry no position.
func lineOf(body ast.Node, msg string) int {
	line, found := 0, 0
	quoted := make(map[string]bool)
	for _, q := range quotedText.FindAllString(msg, -1) {
		if text, err := strconv.Unquote(q); err == nil {
			quoted[text] = true
		}
	}
	if body != nil {
		ast.Walk(visitor(func(n ast.Node) {
			if s, ok := n.(ast.ScalarNode); ok && s.Type() != ast.NullType {
				text := s.GetToken().Value
				size := len(text)
				if quoted[text] {
					size += len(msg) // what an error quotes it speaks of
				}
				if text != "" && strings.Contains(msg, text) && size > found {
					line, found = s.GetToken().Position.Line, size
				}
			}
		}), body)
	}
	return line
}

type visitor func(ast.Node)

// Visit implements ast.Visitor.
func (v visitor) Visit(n ast.Node) ast.Visitor {
	v(n)
	return v
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// At returns an Error about the value at a path such as $.edges[0].id of the
// text that was read from file.
func At(file string, text []byte, path, problem, remedy string) error {
	e := &Error{File: file, Problem: problem, Remedy: remedy}
	text = bytes.TrimPrefix(text, byteOrderMark)
	for strings.ContainsAny(path, ".[") { // a value that is missing is missing where the next one above it stands
		if p, err := yaml.PathString(path); err == nil {
			if n, err := p.ReadNode(bytes.NewReader(text)); err == nil && n.GetToken() != nil {
				e.Line = n.GetToken().Position.Line
				return e
			}
		}
		path = path[:strings.LastIndexAny(path, ".[")]
	}
	return e
}

// missing says what to do about a file that cannot be read.
func missing(file string, err error) error {
	e := &Error{File: file, Problem: err.Error(), Remedy: "name another file"}
	var p *fs.PathError
	if errors.As(err, &p) {
		e.Problem = p.Err.Error()
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Problem, e.Remedy = "no such file", "name one that is there; configs/*.example.yaml are a beginning"
	case errors.Is(err, fs.ErrPermission):
		e.Remedy = "let the user that runs the program read it"
	}
	return e
}
