package configs

import "strings"

// Flags lets long flags be written with one hyphen as well as with two, as Go
// programs do: -config FILE is --config FILE. Short flags (-h), numbers and what
// follows "--" stay as they are.
func Flags(args []string) []string {
	out := make([]string, len(args))
	for i, a := range args {
		if a == "--" {
			copy(out[i:], args[i:])
			break
		}
		out[i] = a
		if name, ok := strings.CutPrefix(a, "-"); ok && len(name) > 1 && name[0] != '-' && (name[0] < '0' || name[0] > '9') && name[0] != '.' {
			out[i] = "--" + name
		}
	}
	return out
}
