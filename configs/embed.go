// Package configs holds what a person edits, device profiles, methodologies and
// projects, and how the commands read it and are started and ended.
//
// It promises that a file is read strictly, so that a misspelt key is an error
// that names file, line and remedy and never a silent default. What the values
// mean is checked by the package that owns them.
package configs

import "embed"

// Files are the profiles, methodologies and projects that come with the
// programs: profiles/*.yaml, methodologies/*.yaml, projects/*.yaml.
//
//go:embed profiles/*.yaml methodologies/*.yaml projects/*.yaml
var Files embed.FS
