package device

import (
	"errors"
	"fmt"
)

// ProfileError is what is wrong with a profile, where in its file, and what to
// do about it. Path is that of the YAML value, such as $.points[3], so that
// whoever has the file can name the line.
type ProfileError struct {
	Profile string // name of the profile, "" while it is not known
	Path    string // "$" for the whole file
	Problem string // names the point, if it is about one
	Remedy  string
}

// Error returns the profile, the problem and the remedy in one line.
func (e *ProfileError) Error() string {
	s := e.Problem + "; " + e.Remedy
	if e.Profile == "" {
		return s
	}
	return fmt.Sprintf("profile %q: %s", e.Profile, s)
}

func fault(path, problem, remedy string) error {
	return &ProfileError{Path: path, Problem: problem, Remedy: remedy}
}

// in says of which profile err is.
func (p *Profile) in(err error) error {
	e := asFault(err)
	e.Profile = p.Name
	if e.Path == "" {
		e.Path = "$"
	}
	return e
}

// inPoint says of which point err is.
func inPoint(i int, name string, err error) error {
	e := asFault(err)
	e.Path = fmt.Sprintf("$.points[%d]%s", i, e.Path)
	e.Problem = fmt.Sprintf("point %q: %s", name, e.Problem)
	return e
}

// asFault returns err as a ProfileError of its own.
func asFault(err error) *ProfileError {
	var e *ProfileError
	if errors.As(err, &e) {
		f := *e
		return &f
	}
	return &ProfileError{Problem: err.Error(), Remedy: "see the profiles that come with the program"}
}
